"""One command: tables, demo data, then the service on http://127.0.0.1:8000/.

    python demo.py

``PORT`` chooses another port; the variables in ``workspace/settings.py`` count here as well.
"""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "workspace.settings")
    port = read_port(os.environ.get("PORT") or "8000")

    import django
    import uvicorn
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    call_command("seed")
    print(f"\n  http://127.0.0.1:{port}/   (Ctrl-C ends)\n", flush=True)
    # Logging is set up by the settings; with uvicorn's own, lines would come in two styles.
    uvicorn.run("workspace.asgi:application", host="127.0.0.1", port=port, log_config=None)


def read_port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:6]) < 65536):
        sys.exit(f"PORT must be a number from 1 to 65535, not {text!r}.")
    return int(text)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
