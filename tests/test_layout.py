"""Dependency direction and import cost: what the layout promises, enforced."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Collection
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

FORBIDDEN = {
    "runtime/scarseg_runtime": {
        "scarseg_infer", "scarseg_export", "torch", "pydicom", "highdicom", "nibabel", "wfdb",
        "scipy", "pandas", "matplotlib", "PIL", "onnx",
    },
    "scarseg_infer": {"scarseg_export", "torch", "onnx", "scipy", "pandas", "matplotlib"},
    "export/scarseg_export": {"scarseg_infer"},
}  # fmt: skip


def imported_packages(source: Path, *, for_types: bool = True) -> set[str]:
    """Top-level packages imported anywhere in a file, inside functions included; without those
    that only a type checker sees unless ``for_types``."""
    found = set()
    nodes = [ast.parse(source.read_text(encoding="utf-8"))]
    for node in nodes:  # which grows
        unseen = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if for_types or not unseen:
            nodes.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", FORBIDDEN)
def test_dependencies_point_one_way(package: str) -> None:
    sources = sorted((ROOT / package).rglob("*.py"))
    assert sources, f"no sources in {package}"
    broken = {
        str(source.relative_to(ROOT)): sorted(imported_packages(source) & FORBIDDEN[package])
        for source in sources
        if imported_packages(source) & FORBIDDEN[package]
    }
    assert broken == {}


def module_name(source: Path, root: Path) -> str:
    return ".".join(source.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def imported_modules(source: Path, modules: Collection[str]) -> set[str]:
    """Modules of ours that a file imports when it runs, inside functions included; not those that
    only a type checker sees."""
    found = set()
    nodes: list[ast.AST] = [ast.parse(source.read_text(encoding="utf-8"))]
    for node in nodes:  # which grows
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            nodes.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inside & {*modules} or {node.module}
    return found & {*modules}


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Not even where an import waits inside a function: so each can be read after what it needs."""
    modules = {
        module_name(path, place.parent): path
        for place in (ROOT / package for package in (*FORBIDDEN, "bench/scarseg_bench"))
        for path in place.rglob("*.py")
    }
    assert {"scarseg_infer", "scarseg_infer.cli", "scarseg_bench.cli"} <= {*modules}
    imports = {name: imported_modules(path, modules) for name, path in modules.items()}
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle


REPORTING = {
    package: f"runtime/scarseg_runtime/providers/{package}/api.py"
    for package in ("onnxruntime", "openvino")
}
"""Packages that report their import to their makers, and the one module that imports each."""


@pytest.mark.parametrize("package", REPORTING)
def test_what_reports_its_import_is_imported_in_one_place(package: str) -> None:
    sources = [
        source
        for folder in ("runtime", "scarseg_infer", "export", "bench", "tests")
        for source in sorted((ROOT / folder).rglob("*.py"))
        if package in imported_packages(source, for_types=False)
    ]
    assert [source.relative_to(ROOT).as_posix() for source in sources] == [REPORTING[package]]


@pytest.mark.parametrize("package", ["scarseg_infer", "scarseg_runtime", "scarseg_infer.cli"])
def test_import_loads_nothing_heavy(package: str) -> None:
    heavy = ["torch", "matplotlib", "pandas", "scipy", "wfdb", "highdicom", "pydicom", "nibabel",
             "onnxruntime", "PIL", "onnx"]  # fmt: skip
    code = f"import sys, {package}; print([m for m in {heavy!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_model_loads_without_pydicom() -> None:
    """It loads while pydicom is imported, or where a study is no DICOM at all."""
    code = "import sys, scarseg_infer.segmenter; print('pydicom' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_top_level_folders() -> None:
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    folders = {Path(name).parts[0] for name in tracked if len(Path(name).parts) > 1}
    assert folders >= {"export", "runtime", "scarseg_infer", "bench", "tests", "docs"}
