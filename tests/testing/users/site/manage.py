"""`manage.py` of a project whose developers test it. `BOOKSHOP_START` is for `--parallel`."""

import multiprocessing
import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bookshop.settings")
    if method := os.environ.get("BOOKSHOP_START"):
        multiprocessing.set_start_method(method)
    execute_from_command_line(sys.argv)
