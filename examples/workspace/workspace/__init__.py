import os

if os.environ.get("CELERY_BROKER_URL"):
    from workspace.celery import app as celery_app

    __all__ = ["celery_app"]
