"""Django's own test suite, run on Onloop's backends: is the ORM still Django's?

`python -m conformance` (or `make conformance`) runs it; README.md in this folder tells how.
None of Django's tests stands here: the installed version's source distribution has them.
"""
