"""The planted row is run by the soak, not by pytest."""

collect_ignore = ["planted"]
