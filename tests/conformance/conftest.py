"""The planted suite is run by the judge, not by pytest."""

collect_ignore = ["suite"]
