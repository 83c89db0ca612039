"""The settings that Django's tests run with, as its own `test_sqlite.py` has them."""

import json
import os

# `default` and `other`, as the process that started this one wants them.
DATABASES = json.loads(os.environ["CONFORMANCE_DATABASES"])

SECRET_KEY = "of tests that guard nothing"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
USE_TZ = False
