"""The tests in `site` are another project's."""

collect_ignore = ["site"]
