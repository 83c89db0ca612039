"""The soak: reliability tests for longer, and the page about what they showed.

`python -m reliability`, or `make soak`. See README.md.
"""
