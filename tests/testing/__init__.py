"""Tests of `onloop.testing`: every tool finds what it is for, and nothing else."""
