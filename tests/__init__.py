"""Onloop's tests. `README.md` says how they are organised and which fixtures there are."""
