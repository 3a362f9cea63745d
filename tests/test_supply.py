"""Dependencies: ranges with both ends, and a bill of materials that can be trusted."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import re
import shlex
import sys
import tomllib
import venv
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

MakeCommands = Callable[[str], list[str]]

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
DEPLOYED = ("openvino", "compressed", "ecg-formats", "pdf", "node", "dicomweb", "mrd", "cohort")
"""Extras of what runs beside a scanner or on a cluster, without a GPU."""


def declared(*extras: str) -> list[Requirement]:
    """Requirements of the project and of some of its extras, those that extras name included."""
    found: list[Requirement] = []
    texts = [*PROJECT["dependencies"], *(text for extra in extras for text in EXTRAS[extra])]
    for requirement in map(Requirement, texts):
        if requirement.name == PROJECT["name"]:
            found += declared(*requirement.extras)
        else:
            found.append(requirement)
    return found


def build_requirements() -> list[Requirement]:
    return [Requirement(text) for text in PYPROJECT["build-system"]["requires"]]


def bound(requirement: Requirement, operator: str) -> str | None:
    """The version behind an operator, None where the range has none."""
    return next((one.version for one in requirement.specifier if one.operator == operator), None)


def test_every_range_has_two_ends() -> None:
    open_ended = [
        str(requirement)
        for requirement in (*declared(*EXTRAS), *build_requirements())
        if not bound(requirement, ">=") or not bound(requirement, "<")
    ]
    assert open_ended == []


def test_the_lowest_releases_are_the_lower_bounds() -> None:
    lines = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line for line in lines if not line.startswith("#")}
    assert pinned == {f"{one.name}=={bound(one, '>=')}" for one in declared("test-shipped")}


HEAVY = {
    "pandas", "scipy", "matplotlib", "aiohttp", "requests", "soundfile", "wfdb", "reportlab", "ray",
    "torch", "highdicom", "openvino",
}  # fmt: skip


def plain() -> set[str]:
    """List what a plain installation brings, but for what only old releases of onnxruntime do,
    which need it for tools of theirs."""
    base = needed(declared())
    return base - needed(Requirement(name) for name in ("coloredlogs", "sympy") if name in base)


def test_a_plain_installation_brings_little() -> None:
    assert not needed(declared()) & HEAVY
    assert len(plain()) <= 12, sorted(plain())


MOST_BYTES = 230e6
"""Bytes that a plain installation adds to an environment. Bytecode counts, since pip writes it;
pip itself does not, since it was there before."""


def test_a_plain_installation_is_small() -> None:
    others = sum(map(installed_bytes, plain()))
    shipped = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    sources = [path for folder in shipped for path in (ROOT / folder).rglob("*") if path.is_file()]
    own = sum(path.stat().st_size for path in sources if path.suffix != ".pyc")
    # Bytecode of ours is no larger than what it is made of; models and tables have none.
    bytecode = sum(path.stat().st_size for path in sources if path.suffix == ".py")
    assert others > 100e6  # onnxruntime alone is more than half of that
    assert others + own + bytecode < MOST_BYTES


def installed_bytes(name: str) -> int:
    """Size of the files that pip has installed of one distribution."""
    files = importlib.metadata.files(name)
    assert files, name
    paths = [Path(str(file.locate())) for file in files]
    return sum(path.stat().st_size for path in paths if path.is_file())


def test_what_a_plain_installation_lacks_is_an_extra() -> None:
    assert {"wfdb", "reportlab", "openvino", "ray"} <= needed(declared(*DEPLOYED))
    assert "reportlab" in needed(declared("node"))  # whose reports are PDFs unless told otherwise


NOT_AT_THE_LOWEST = (
    "tests/node/test_openapi.py",
    "tests/node/test_survives.py", "tests/node/test_stopping.py",
    "tests/node/test_stalled_peers.py", "tests/node/test_endless_archives.py",
    "tests/node/test_power_loss.py", "tests/node/test_http_limits.py",
    "tests/infer/test_any_angle.py",
)  # fmt: skip
"""The first needs a newer tool; the others hold our own code against itself."""
OF_OUR_JOURNAL = [
    f"tests/cohort/test_cohort.py::test_{name}"
    for name in ("ids_that_move_and_studies_that_break", "one_machine_goes_on_where_it_stopped")
]
"""They start Ray a dozen times; its uses are in the other tests of clusters."""


def test_the_lowest_releases_are_installed_and_run_all_tests_of_what_is_shipped(
    make_commands: MakeCommands,
) -> None:
    lines = make_commands("test-lowest")
    (install,) = (line for line in lines if " install " in line)
    assert "-c constraints-lowest.txt" in " ".join(install.split())
    assert ".[test-shipped]" in install and "-c constraints.txt" not in install
    lanes = [shlex.split(line) for line in lines if "-m pytest" in line]
    folders = {f"tests/{path.name}" for path in (ROOT / "tests").iterdir() if path.is_dir()}
    folders -= {"tests/export", "tests/bench", "tests/__pycache__"}  # need torch; no tests
    folders -= {"tests/web"}  # another language
    folders -= {"tests/docs"}  # about the repository, with tools that are not shipped
    assert "tests/node" in folders
    files = {f"tests/{path.name}" for path in (ROOT / "tests").glob("test_*.py")}
    *fast, slow = lanes  # marks: tests/test_lanes.py
    assert len(fast) == 2
    for tests in fast:
        assert {word for word in tests if word.startswith("tests/")} == folders | files
        left_out = [word for word in tests if word.startswith(("--ignore", "--deselect", "-k"))]
        assert left_out == [f"--ignore={name}" for name in NOT_AT_THE_LOWEST]
    # Of the slow ones those that an older release can break, as the Makefile says.
    assert {word for word in slow if word.startswith(("tests/", "--"))} == {
        "tests/cohort", "--durations=10", *(f"--deselect={name}" for name in OF_OUR_JOURNAL)
    }  # fmt: skip
    journal = (ROOT / "tests" / "cohort" / "test_cohort.py").read_text(encoding="utf-8")
    assert all(f"def {name.rpartition('::')[2]}(" in journal for name in OF_OUR_JOURNAL)
    for tests in lanes:
        start = tests.index("-m")
        assert tests[start - 1].startswith(".venv-lowest/") and tests[start + 1] == "pytest"


SKIPPED_AT_THE_LOWEST = {
    "tests/infer/test_page_browser.py": "playwright",
    "tests/runtime/test_tensorrt_build.py": "tensorrt_rtx",
}
"""Test modules whose package ``make test-lowest`` does not install."""


NOT_RUN_THERE = ("tests/export/", "tests/bench/", "tests/docs/", "tests/web/")


def test_no_other_module_lacks_its_package_at_the_lowest() -> None:
    installed = {canonicalize_name(one.name) for one in declared("test-shipped")}
    found = {}
    for path in sorted((ROOT / "tests").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if name.startswith(NOT_RUN_THERE):
            continue
        asked = re.findall(r"""importorskip\(\s*["'](\w+)""", path.read_text(encoding="utf-8"))
        # Of what is asked for these bear the name of their distribution.
        lacking = [one for one in asked if canonicalize_name(one) not in installed]
        if lacking:
            found[name] = lacking[0]
    assert found == SKIPPED_AT_THE_LOWEST
    said = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in said for name in found)


def test_what_no_target_installs_is_said() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    reached = {
        "test-shipped",
        *re.findall(r"[\w-]+", " ".join(re.findall(r"\.\[(.*?)\]", makefile))),
    }
    tested = {canonicalize_name(one.name) for one in declared(*(reached & EXTRAS.keys()))}
    never = {
        extra
        for extra in EXTRAS
        if not {canonicalize_name(one.name) for one in declared(extra)} <= tested
    }
    assert never == {"bench", "cuda", "tensorrt"}
    said = (ROOT / "SECURITY.md").read_text(encoding="utf-8").partition("At neither: ")[2]
    assert set(re.findall(r"`(\w+)`", said.partition("\n- ")[0])) == never | {"export"}


def test_the_bill_is_of_all_that_is_deployed(make_commands: MakeCommands) -> None:
    (install,) = (one for one in make_commands("sbom") if "--python" in one)
    assert f"'.[{','.join(DEPLOYED)}]'" in install


def test_the_newest_releases_are_installed_without_the_lowest(make_commands: MakeCommands) -> None:
    said = make_commands("test-all")
    installs = [line.split() for line in said if " install " in line]
    assert installs
    for words in installs:
        assert [words[i + 1] for i, word in enumerate(words) if word == "-c"] == ["constraints.txt"]
    assert "lowest" not in "\n".join(said)
    # What make pins for the newest is a tool of training, none of what is shipped.
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {Requirement(line).name for line in pins if line and not line.startswith("#")}
    assert not pinned & {one.name for one in declared("test-shipped")}


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    """The script ``bench/sbom.py``, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("sbom", ROOT / "bench" / "sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bill(sbom: ModuleType) -> dict[str, Any]:
    """Of the environment that runs the tests: more than is deployed, and there already."""
    document: dict[str, Any] = sbom.bill_of_materials(sys.executable)
    return document


def packages(bill: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Components that are Python packages, by their normal name."""
    return {
        canonicalize_name(component["name"]): component
        for component in bill["components"]
        if component["type"] != "machine-learning-model"
    }


def needed(requirements: Iterable[Requirement]) -> set[str]:
    """Names of what is installed because of ``requirements``, told by the packages' metadata."""
    found: dict[str, set[str]] = {}

    def walk(some: Iterable[Requirement]) -> None:
        for one in some:
            name = canonicalize_name(one.name)
            if name in found and one.extras <= found[name]:
                continue
            extras = found.setdefault(name, set())
            extras |= one.extras
            walk(parts_of(name, extras))

    walk(requirements)
    return set(found)


def parts_of(name: str, extras: set[str]) -> Iterator[Requirement]:
    """Packages that one needs here, with some of its extras."""
    for requirement in map(Requirement, importlib.metadata.requires(name) or []):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def test_the_bill_lists_what_is_declared_with_what_that_needs(bill: dict[str, Any]) -> None:
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    listed = packages(bill)
    assert needed(declared(*DEPLOYED)) <= listed.keys()
    for name, component in listed.items():
        assert component["version"] == importlib.metadata.version(name)
        purl = re.fullmatch(r"pkg:pypi/([^@]+)@(.+)", component["purl"])
        assert purl is not None
        assert canonicalize_name(purl[1]) == name
    root = bill["metadata"]["component"]
    direct = next(one for one in bill["dependencies"] if one["ref"] == root["bom-ref"])
    references = {component["bom-ref"] for component in bill["components"]}
    assert set(direct["dependsOn"]) <= references
    named = {listed[canonicalize_name(one.name)]["bom-ref"] for one in declared()}
    assert named <= set(direct["dependsOn"])
    assert root["purl"] == f"pkg:pypi/scarseg-infer@{root['version']}"


def test_models_are_components_with_the_hash_of_their_file(bill: dict[str, Any]) -> None:
    files = sorted((ROOT / "scarseg_infer" / "models").glob("*.onnx"))
    models = [one for one in bill["components"] if one["type"] == "machine-learning-model"]
    assert [one["hashes"] for one in models] == [
        [{"alg": "SHA-256", "content": hashlib.sha256(path.read_bytes()).hexdigest()}]
        for path in files
    ]
    assert all("Research use only" in str(one["modelCard"]) for one in models)


def test_deployed_licences_are_known_and_none_is_copyleft_of_the_whole(
    bill: dict[str, Any],
) -> None:
    listed = packages(bill)
    for name in needed(declared(*DEPLOYED)):
        texts = [
            entry.get("expression") or entry["license"].get("id") or entry["license"].get("name")
            for entry in listed[name].get("licenses", [])
        ]
        assert texts, f"{name} says no licence"
        said = " ".join(texts)
        assert not re.search(r"GPL|General Public", said), f"{name}: {said}"


def test_the_bill_of_what_is_deployed_keeps_the_schema(
    sbom: ModuleType, bill: dict[str, Any]
) -> None:
    names = needed(declared(*DEPLOYED))
    kept = [
        one
        for one in bill["components"]
        if one["type"] == "machine-learning-model" or canonicalize_name(one["name"]) in names
    ]
    references = {one["bom-ref"] for one in (*kept, bill["metadata"]["component"])}
    links = [
        {"ref": one["ref"], "dependsOn": sorted(references & {*one.get("dependsOn", [])})}
        for one in bill["dependencies"]
        if one["ref"] in references
    ]
    deployed = bill | {"components": kept, "dependencies": links}
    assert json.loads(sbom.as_checked_text(deployed)) == deployed
    broken = bill | {"components": [{**kept[0], "places": "somewhere"}], "dependencies": []}
    with pytest.raises(ValueError, match=r"CycloneDX 1\.6"):
        sbom.as_checked_text(broken)


def test_the_bill_names_no_place_and_is_the_same_again(
    sbom: ModuleType, bill: dict[str, Any]
) -> None:
    text = json.dumps(bill)
    assert json.dumps(sbom.bill_of_materials(sys.executable)) == text
    for place in (ROOT, Path.home(), sys.prefix):
        assert f"{place}/" not in text
    # The one address is the name of the schema, which nobody opens.
    assert [one for one in re.findall(r"\w+://[^\"]*", text) if "cyclonedx.org" not in one] == []


def test_an_environment_with_nothing_in_it_has_the_models_alone(
    sbom: ModuleType, tmp_path: Path
) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    out = tmp_path / "sbom.cdx.json"
    assert sbom.main([str(tmp_path / "venv"), "-o", str(out)]) == 0
    kinds = {one["type"] for one in json.loads(out.read_text(encoding="utf-8"))["components"]}
    assert kinds == {"machine-learning-model"}
