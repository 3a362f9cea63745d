"""Snippets of the documentation: what can run is run, page by page, as a reader would.

A page's snippets run in its order in one folder, those in Python in one process, so that each finds
what those before it made. Lines that install something (``pip``, ``make``, ``venv``) are not run
but compared with what there is. What else cannot run says why in a comment above it, and then its
commands must at least be accepted by their parsers.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest

from scarseg_infer import read_study
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]
LANGUAGES = {"bash", "python", "toml", "text"}
PARSERS = {
    "scarseg-infer": "scarseg_infer.cli",
    "scarseg-node": "scarseg_infer.node.main",
    "scarseg-mrd": "scarseg_infer.mrd.main",
    "scarseg-cohort": "scarseg_infer.cohort.main",
    "scarseg-web": "scarseg_infer.web.build",
    "scarseg-export": "scarseg_export.cli",
    "scarseg-bench": "scarseg_bench.cli",
}
FENCE = re.compile(r"^(?:<!-- not run: (.+?) -->\n)?^```(\w*)\n(.*?)^```$", re.M | re.S)
SETS_UP = re.compile(r"(pip|make|pre-commit|git|python -m venv|\. \S*activate)\b")
PUBLISHED = re.compile(r"pip install '?scarseg-infer(\[[\w,-]+\])?'?(?! @)(?=[\s`']|$)")


@dataclass(frozen=True)
class Snippet:
    """One fenced block, and why it does not run, if it says so."""

    language: str
    text: str
    reason: str | None

    @property
    def lines(self) -> list[str]:
        return self.text.replace("\\\n", " ").splitlines()


def snippets(page: Path) -> list[Snippet]:
    text = page.read_text(encoding="utf-8")
    return [Snippet(found[2], found[3], found[1]) for found in FENCE.finditer(text)]


ALL = [(name, one) for name, page in zip(NAMES, PAGES, strict=True) for one in snippets(page)]
RUN = [
    name
    for name, page in zip(NAMES, PAGES, strict=True)
    if any(one.language in ("bash", "python") and not one.reason for one in snippets(page))
]


def script(page: Path) -> str:
    """A page's snippets as one program in Python."""
    parts = ["import subprocess as _subprocess"]
    for one in snippets(page):
        if one.reason:
            continue
        if one.language == "python":
            parts.append(one.text)
        elif one.language == "bash":
            text = "\n".join(line for line in one.lines if not SETS_UP.match(line))
            parts.append(f"_subprocess.run(['bash', '-euc', {text!r}], check=True)")
    return "\n".join(parts)


@pytest.fixture
def sandbox(tmp_path: Path) -> Path:
    """A folder with what the snippets call it: the demo study and its ECG, in every form."""
    shutil.copytree(DEMO_STUDY, tmp_path / "study")
    shutil.make_archive(str(tmp_path / "study"), "zip", DEMO_STUDY)
    (tmp_path / "ecg").mkdir()
    header = DEMO_ECG.read_text(encoding="ascii").replace("twin", "rec")
    (tmp_path / "ecg" / "rec.hea").write_text(header, encoding="ascii")
    shutil.copy(DEMO_ECG.with_suffix(".dat"), tmp_path / "ecg" / "rec.dat")
    stack = read_study(DEMO_STUDY)
    row_mm, column_mm = stack.pixel_spacing_mm
    affine = np.diag([-column_mm, -row_mm, float(np.diff(stack.slice_positions_mm)[0]), 1.0])
    image = nibabel.Nifti1Image(stack.pixels.transpose(2, 1, 0), affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / "lge.nii.gz")
    (tmp_path / "wheelhouse").mkdir()
    (tmp_path / "wheelhouse" / "a_package-1.2-py3-none-any.whl").write_bytes(b"wheel")
    return tmp_path


@pytest.mark.parametrize("name", RUN)
def test_snippets_run(name: str, sandbox: Path) -> None:
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, "-c", script(ROOT / name)],
        cwd=sandbox, env=os.environ | {"PATH": search}, capture_output=True, text=True,
        check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"


def test_every_snippet_says_its_language() -> None:
    assert [(name, one.language) for name, one in ALL if one.language not in LANGUAGES] == []


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command line in a snippet, as words."""
    for name, one in ALL:
        if one.language == "bash":
            for line in one.lines:
                if words := shlex.split(line, comments=True):
                    yield name, words


def test_every_command_is_accepted_by_its_parser(capsys: pytest.CaptureFixture[str]) -> None:
    refused = []
    for name, words in commands():
        if words[0] in PARSERS:
            words = words[: words.index(">")] if ">" in words else words
            parser = importlib.import_module(PARSERS[words[0]]).parser()
            try:
                parser.parse_args(words[1:])
            except SystemExit as error:
                if error.code != 0:  # --help and --version end so
                    refused.append((name, " ".join(words), capsys.readouterr().err))
    assert refused == []


def test_every_target_of_make_is_there() -> None:
    rules = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    named = {words[1] for _, words in commands() if words[0] == "make"}
    assert named
    assert named <= set(rules)


def test_every_extra_is_described_and_only_such_are_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    table = page.partition("| extra |")[2].partition("\n\n")[0]
    described = set(re.findall(r"`([\w-]+)`", "".join(re.findall(r"^\| (`.*?) \|", table, re.M))))
    assert set(project["optional-dependencies"]) <= described
    for name, page_path in zip(NAMES, PAGES, strict=True):
        text = page_path.read_text(encoding="utf-8")
        for extras in re.findall(r"(?:'\.|scarseg-infer)\[([\w,-]+)\]", text):
            assert set(extras.split(",")) <= described | {"NAME"}, name


def test_nothing_is_installed_from_an_index_where_it_is_not() -> None:
    told = {
        name: PUBLISHED.findall(re.sub(r"So `pip install scarseg-infer` finds nothing", "", text))
        for name, text in ((name, (ROOT / name).read_text(encoding="utf-8")) for name in NAMES)
    }
    assert {name: found for name, found in told.items() if found} == {}


def test_configurations_are_such(tmp_path: Path) -> None:
    from scarseg_infer.node.config import read_config

    found = 0
    for _, one in ALL:
        if one.language == "toml":
            document = tomllib.loads(one.text)
            if "node" in document:
                (tmp_path / "node.toml").write_text(one.text, encoding="utf-8")
                read_config(tmp_path / "node.toml")
                found += 1
    assert found >= 2
