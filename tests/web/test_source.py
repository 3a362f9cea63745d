"""The page's source without building it: what it depends on, and what it shares with Python."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from scarseg_infer.web import build
from scarseg_infer.write.json import SCHEMA_VERSION
from scarseg_infer.write.report import drawing
from scarseg_infer.write.words import RESEARCH_USE
from scarseg_runtime import atlas, contract
from scarseg_runtime.ecg import beats, conduction, electrodes, noise, pacing, signal
from scarseg_runtime.errors import ModelError, OutputError, UsageError
from scarseg_runtime.quantify import characteristics, layers, remote

SOURCE = build.SOURCE
LOCK = json.loads((SOURCE / "package-lock.json").read_text(encoding="utf-8"))
PERMISSIVE = {"MIT", "Apache-2.0", "BSD-3-Clause", "ISC"}
NETWORK = re.compile(r"\bfetch\(|XMLHttpRequest|WebSocket|sendBeacon|importScripts|console\.")
CONSTANT = re.compile(r"^(?:export )?const (_?[A-Z][A-Z0-9_]*) = (.+?)(?: as const)?;$", re.M)
TEXT = {
    path.relative_to(SOURCE).as_posix(): path.read_text(encoding="utf-8")
    for folder in ("core", "page")
    for path in sorted((SOURCE / folder).rglob("*"))
    if path.is_file()
}


def test_packages_are_locked_permissive_and_come_from_npm_alone() -> None:
    packages = {name: entry for name, entry in LOCK["packages"].items() if name}
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
    assert {entry["license"] for entry in packages.values()} <= PERMISSIVE
    hosts = set(re.findall(r"https?://([^/\"]+)", json.dumps(packages)))
    assert hosts <= {"registry.npmjs.org", "opencollective.com", "github.com"}
    wanted = json.loads((SOURCE / "package.json").read_text(encoding="utf-8"))
    assert LOCK["packages"][""]["dependencies"] == wanted["dependencies"]


def test_the_page_asks_no_network() -> None:
    for name, text in TEXT.items():
        assert not NETWORK.search(text), name


@pytest.mark.parametrize("name", sorted(TEXT))
def test_files_are_small(name: str) -> None:
    assert len(TEXT[name].splitlines()) <= 400


def constants(name: str) -> dict[str, object]:
    """Plain constants of a module: numbers and lists of them."""
    found = {}
    for key, value in CONSTANT.findall(TEXT[name]):
        try:
            found[key] = json.loads(value)
        except ValueError:
            continue
    return found


PAIRS = {
    "core/contract.ts": contract, "core/signal/clean.ts": signal, "core/signal/beats.ts": beats,
    "core/signal/conduction.ts": conduction, "core/signal/electrodes.ts": electrodes,
    "core/signal/noise.ts": noise, "core/signal/pacing.ts": pacing,
    "core/quantify/remote.ts": remote,
    "core/quantify/characteristics.ts": SimpleNamespace(**(vars(layers) | vars(characteristics))),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_constants_are_those_of_python(name: str) -> None:
    own, compared = constants(name), 0
    for key, value in own.items():
        theirs = getattr(PAIRS[name], key, getattr(PAIRS[name], f"_{key}", None))
        if theirs is None or not isinstance(theirs, int | float | str | tuple):
            continue
        compared += 1
        listed = list(theirs) if isinstance(theirs, tuple) else theirs
        assert value == listed, key
    assert compared >= 4


def test_words_are_those_of_python() -> None:
    assert f'"{RESEARCH_USE}"' in TEXT["core/contract.ts"]
    assert f'SCHEMA_VERSION = "{SCHEMA_VERSION}"' in TEXT["core/contract.ts"]
    listed = TEXT["core/quantify/atlas.ts"].partition("as const")[0]
    names = re.findall(r'"([a-z]+(?: [a-z]+)?)",', listed)
    assert tuple(names) == atlas.SEGMENT_NAMES
    for colour in (drawing.NO_DATA, drawing.NIGHT_NO_DATA, *drawing.SCALE, *drawing.NIGHT_SCALE):
        assert f"[{', '.join(map(str, colour))}]" in TEXT["core/report/colours.ts"]


def test_without_node_the_command_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build.main(["-o", str(tmp_path / "page.html")]) == UsageError.exit_code
    assert capsys.readouterr().err == (
        "scarseg-web: npm is not installed. Install Node 20 or newer with npm.\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_model_makes_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, page = tmp_path / "model.onnx", tmp_path / "page.html"
    model.write_bytes(b"none")
    assert build.main(["-o", str(page), "--model", str(model)]) == ModelError.exit_code
    assert capsys.readouterr().err.startswith("scarseg-web: ")
    assert not page.exists()


def test_a_page_that_cannot_be_put_in_place_leaves_nothing(tmp_path: Path) -> None:
    built, out = tmp_path / "built.html", tmp_path / "taken"
    built.write_text("page")
    (out / "inside").mkdir(parents=True)
    with pytest.raises(OutputError):
        build._put(built, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["built.html", "taken"]
