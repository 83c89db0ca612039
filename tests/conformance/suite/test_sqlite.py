"""The settings of the planted suite, named as Django's."""

SECRET_KEY = "of tests that guard nothing"
USE_TZ = False
