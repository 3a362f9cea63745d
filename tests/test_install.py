"""Advice where an extra is missing: a command that works, worded in one place."""

from __future__ import annotations

import importlib.metadata
import json
import re
import tomllib
from pathlib import Path

import pytest

from scarseg_runtime import install
from scarseg_runtime.install import install_command

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ("scarseg_infer", "runtime/scarseg_runtime", "export/scarseg_export")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]


class Installed:
    """A distribution as pip left it."""

    def __init__(self, origin: str | None) -> None:
        self.origin = origin

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self.origin


FOLDER = json.dumps({"url": "file:///home/me/scarseg-infer", "dir_info": {"editable": True}})
WHEEL = {"url": "file:///w%20h/scarseg_infer-0.1.0-py3-none-any.whl", "archive_info": {}}
SDIST = {"url": "file:///w/scarseg_infer-0.1.0.tar.gz", "archive_info": {}}
CLONE = {"url": "https://example.org/scarseg-infer.git", "vcs_info": {"vcs": "git"}}
SOURCE = "pip install '.[node]' in the source folder of scarseg-infer"


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        (FOLDER, SOURCE), (json.dumps(SDIST), SOURCE), (json.dumps(CLONE), SOURCE),
        ("damaged", SOURCE), ("[]", SOURCE), ("{}", SOURCE),
        (json.dumps(WHEEL), "pip install './scarseg_infer-0.1.0-py3-none-any.whl[node]'"),
        (None, "pip install 'scarseg-infer[node]'"),
    ],
)  # fmt: skip
def test_the_command_is_that_for_where_the_installation_came_from(
    origin: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install.metadata, "distribution", lambda _: Installed(origin))
    install._installed_from.cache_clear()
    try:
        assert install_command("node") == said
    finally:
        install._installed_from.cache_clear()


def test_a_checkout_that_is_not_installed_is_a_source_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(_: str) -> None:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(install.metadata, "distribution", missing)
    install._installed_from.cache_clear()
    try:
        assert install_command("node") == SOURCE
    finally:
        install._installed_from.cache_clear()


def sources() -> dict[str, str]:
    found = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for folder in SHIPPED
        for path in sorted((ROOT / folder).rglob("*.py"))
    }
    assert found
    return found


def test_no_other_place_words_it() -> None:
    worded = [name for name, text in sources().items() if re.search(r"pip install .*\[", text)]
    assert worded == ["runtime/scarseg_runtime/install.py"]


def test_extras_that_are_named_exist() -> None:
    named = {
        extra
        for text in sources().values()
        for extras in re.findall(r"""install_command\(["']([\w,-]+)["']\)""", text)
        for extra in extras.split(",")
    }
    assert {"node", "pdf", "cohort", "ecg-formats", "openvino", "export", "nnunet"} <= named
    assert named <= EXTRAS.keys()


def test_the_documents_name_no_index_either() -> None:
    for name in ("README.md", "MODEL_CARD.md", "SECURITY.md"):
        assert "scarseg-infer[" not in (ROOT / name).read_text(encoding="utf-8"), name
