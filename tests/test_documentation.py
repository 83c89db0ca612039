"""The documentation as a whole: its links, code, settings and names.

Most pages have tests of their own, which run their examples.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from onloop import checks, conf
from tests.postgres import ROOT

FOLDERS = ("", "docs", "docs/decisions", "examples/workspace", "benchmarks", "conformance",
           "reliability", "tests")  # fmt: skip
PAGES = {
    str(page.relative_to(ROOT)): page.read_text()
    for folder in FOLDERS
    for page in sorted((ROOT / folder).glob("*.md"))
}
FOR_USERS = {name: text for name, text in PAGES.items() if name.startswith(("README", "docs/"))}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
GROUPS = (conf.Settings, conf.HttpSettings)
SETTINGS = [entry.name for group in GROUPS for entry in fields(group)]


def code_of(text: str) -> Iterator[ast.Module]:
    for language, block in BLOCK.findall(text):
        if language != "python" or "…" in block:
            continue
        try:
            yield ast.parse(block)
        except SyntaxError:  # with `await`, or an entry of a dictionary
            inside = f"async def f():\n{textwrap.indent(block, '    ')}"
            yield ast.parse(inside if not block.startswith('"') else f"{{{block}}}")


# --- links ----------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """Those that a page's headings have on GitHub."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", text), re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("name", PAGES)
def test_its_links_lead_somewhere(name):
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", PAGES[name])):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = ((ROOT / name).parent / path).resolve() if path else ROOT / name
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            wrong.append(link)
    assert wrong == []


# --- code -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FOR_USERS)
def test_what_its_code_imports_from_onloop_is_there(name):
    for tree in code_of(FOR_USERS[name]):
        for node in ast.walk(tree):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            if module and module.partition(".")[0] == "onloop":
                found = importlib.import_module(module)
                for alias in node.names:
                    if not hasattr(found, alias.name):
                        importlib.import_module(f"{module}.{alias.name}")


@pytest.mark.parametrize("name", FOR_USERS)
def test_its_settings_are_accepted(name):
    for tree in code_of(FOR_USERS[name]):
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ONLOOP":
                conf._check(eval(ast.unparse(node.value)))


# --- settings and names ---------------------------------------------------------------------


@pytest.mark.parametrize("setting", SETTINGS)
def test_each_setting_is_documented(setting):
    assert [name for name, text in FOR_USERS.items() if re.search(rf"\b{setting}\b", text)]


@pytest.mark.parametrize("name", FOR_USERS)
def test_the_settings_that_it_names_exist(name):
    named = re.findall(r"""ONLOOP\[["'](\w+)["']\](?:\[["'](\w+)["']\])?""", FOR_USERS[name])
    assert {part for pair in named for part in pair if part} <= set(SETTINGS)


def test_the_system_checks_that_are_named_exist():
    known = set(re.findall(r"onloop\.[EW]\d{3}", inspect.getsource(checks)))
    text = "\n".join(FOR_USERS.values())
    assert set(re.findall(r"onloop\.[EW]\d{3}", text)) <= known


def test_the_targets_of_make_that_are_named_exist():
    makefile = Path(ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][\w-]*):", makefile, re.MULTILINE))
    text = "\n".join(PAGES.values())
    assert set(re.findall(r"(?:^|`)make ([a-z][\w-]*)", text, re.MULTILINE)) <= targets


MODULES = sorted(
    ".".join(file.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
    for file in (ROOT / "src" / "onloop").rglob("*.py")
    if "__all__" in file.read_text()
)


@pytest.mark.parametrize("module", MODULES)
def test_its_exported_functions_and_classes_have_docstrings(module):
    found = importlib.import_module(module)
    exported = {name: getattr(found, name) for name in found.__all__}
    wrong = [
        name
        for name, value in exported.items()
        if (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__.startswith("onloop")
        and not vars(value).get("__doc__", value.__doc__)
    ]
    assert wrong == []


# Of Celery's tasks and of loggers.
NO_NAMES = {"onloop.tasks.run", "onloop.tasks.run_async", "onloop.request"}


@pytest.mark.parametrize("name", FOR_USERS)
def test_the_dotted_names_that_it_uses_exist(name):
    found = re.findall(r"(?<![\w./-])onloop(?:\.\w+)+", FOR_USERS[name])
    wrong = [
        dotted
        for dotted in sorted(set(found) - NO_NAMES)
        if not re.fullmatch(r"onloop\.[EW]\d{3}", dotted) and not exists(dotted)
    ]
    assert wrong == []


def exists(dotted: str) -> bool:
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False
