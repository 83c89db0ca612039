"""The numbered list of rules in `tests/README.md` names tests that exist."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
LIST = (TESTS / "README.md").read_text().partition("## Rules and traps")[2]
RULES = re.findall(r"^(\d+)\. (.*)$", LIST, re.MULTILINE)


@lru_cache
def names(path: str) -> list[str]:
    tree = ast.parse((TESTS / path).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    imported = [
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    return [node.name for node in ast.walk(tree) if isinstance(node, functions)] + imported


def test_the_rules_are_numbered_through() -> None:
    assert [int(number) for number, _ in RULES] == list(range(1, len(RULES) + 1))


@pytest.mark.parametrize(("number", "rule"), RULES, ids=[number for number, _ in RULES])
def test_each_rule_has_tests_that_exist(number: str, rule: str) -> None:
    named = re.findall(r"`([\w/]+\.py)(?:::([\w*]+))?`", rule)
    assert named, rule
    for path, name in named:
        found = names(path)
        if name.endswith("*"):
            assert any(known.startswith(name[:-1]) for known in found), f"{path}::{name}"
        elif name:
            assert name in found, f"{path}::{name}"
        else:
            assert any(known.startswith("test_") for known in found), path
