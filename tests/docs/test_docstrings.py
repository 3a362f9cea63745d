"""Docstrings of the four packages and of bench/: they open with the verb or noun they are about."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("scarseg_infer", "runtime", "export", "bench", "docs")
HIDES_ITS_NOUN = re.compile(r"(What|Whether|How|Where|Why|When|Which|Who|Whose|That|If)\b")


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of every docstring: of modules, classes, functions and what is assigned."""
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        documented = isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        )
        for before, one in zip([None, *body], body, strict=False):
            if (
                isinstance(one, ast.Expr)
                and isinstance(one.value, ast.Constant)
                and isinstance(one.value.value, str)
                and (isinstance(before, ast.Assign | ast.AnnAssign) or (documented and not before))
            ):
                yield one.lineno, one.value.value


def test_every_kind_of_docstring_is_found() -> None:
    source = (
        '"m"\nx = 1\n"v"\nclass A:\n    "c"\n    y: int\n    "a"\n    def _f(self):\n        "f"'
    )
    assert sorted(docstrings(source)) == [(1, "m"), (3, "v"), (5, "c"), (7, "a"), (9, "f")]


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_open_with_a_verb_or_a_noun(folder: str) -> None:
    hidden, seen = [], 0
    for path in sorted((ROOT / folder).rglob("*.py")):
        for line, text in docstrings(path.read_text(encoding="utf-8")):
            seen += 1
            if HIDES_ITS_NOUN.match(text.lstrip()):
                hidden.append(f"{path.relative_to(ROOT)}:{line}: {text.splitlines()[0]}")
    assert seen
    assert hidden == []
