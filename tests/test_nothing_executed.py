"""Data of users and of the network never becomes code: no pickle, no shell, no bare XML."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("scarseg_infer", "runtime/scarseg_runtime", "export/scarseg_export",
            "bench/scarseg_bench")  # fmt: skip
UNPICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve",
              "jsonpickle", "yaml"}  # fmt: skip
ERROR_ONLY = {"UnpicklingError"}
"""Errors of torch.load on a damaged file; it executes nothing."""
XML_PARSERS = ("xml.etree", "xml.dom", "xml.sax", "xml.parsers", "lxml", "defusedxml")
XML_ALLOWED = {
    ("scarseg_infer/ecg/guards/xml.py", "xml.parsers"),
    ("scarseg_infer/ecg/vendor.py", "xml.etree.ElementTree.ParseError"),
    ("scarseg_infer/ecg/guards/philips_sizes.py", "xml.etree.ElementTree"),
    ("scarseg_infer/ecg/recording_time.py", "xml.etree.ElementTree"),
    ("scarseg_infer/mrd/xml.py", "xml.etree.ElementTree"),
    ("scarseg_infer/write/report/pdf.py", "xml.sax.saxutils.escape"),
}
"""The guards themselves, an exception, dates of what the first has passed, and the escaping of
text."""
CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "pty.spawn",
         "builtins.eval", "builtins.exec", "runpy.run_path"}  # fmt: skip


def sources() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        found = sorted((ROOT / package).rglob("*.py"))
        assert found, f"no sources in {package}"
        for path in found:
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def offences(name: str, tree: ast.AST) -> Iterator[str]:
    """Offences of a file, with their lines."""
    for node in ast.walk(tree):
        found: list[str] = []
        if isinstance(node, ast.Import):
            found = [import_offence(name, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found = [import_offence(name, f"{node.module}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.Call):
            found = [call_offence(node)]
        yield from (f"{name}:{node.lineno} {what}" for what in found if what)  # type: ignore[attr-defined]


def import_offence(name: str, imported: str) -> str:
    package, _, rest = imported.partition(".")
    if package in UNPICKLING and rest not in ERROR_ONLY:
        return f"imports {imported}"
    allowed = any(name == file and imported.startswith(what) for file, what in XML_ALLOWED)
    return "" if allowed or not imported.startswith(XML_PARSERS) else f"imports {imported}"


def call_offence(node: ast.Call) -> str:
    called = ast.unparse(node.func)
    given = {word.arg: ast.unparse(word.value) for word in node.keywords}
    if called in CALLS:
        return f"calls {called}"
    if given.get("shell", "False") != "False":
        return "starts a shell"
    if called.endswith(".load") and called.split(".")[0] in ("torch", "np", "numpy"):
        if called.startswith("torch") and given.get("weights_only") != "True":
            return "torch.load without weights_only=True"
        if given.get("allow_pickle", "False") != "False":
            return "loads pickles with numpy"
    if called in ("np.fromfile", "np.save", "np.savez") and given.get("allow_pickle") == "True":
        return "writes pickles with numpy"
    return ""


def test_nothing_of_ours_unpickles_evaluates_or_starts_a_shell() -> None:
    assert [what for name, tree in sources() for what in offences(name, tree)] == []


@pytest.mark.parametrize(
    "code",
    ["import pickle", "import a, dill", "from pickle import loads", "from joblib import load",
     "torch.load(path)", "torch.load(path, weights_only=False)", "eval('1')", "os.system('ls')",
     "np.load(path, allow_pickle=True)", "np.load(path, allow_pickle=flag)", "import yaml",
     "subprocess.run('ls', shell=True)", "from xml.etree import ElementTree",
     "import xml.etree.ElementTree as ET", "from lxml import etree", "def f():\n import shelve"],
)  # fmt: skip
def test_each_of_these_would_be_found(code: str) -> None:
    assert len(list(offences("scarseg_infer/x.py", ast.parse(code)))) == 1


def test_what_executes_nothing_is_fine() -> None:
    code = (
        "from pickle import UnpicklingError\nnp.load(path)\nnet.eval()\nre.compile('x')\n"
        "torch.load(path, weights_only=True)\nnp.load(path, allow_pickle=False)\n"
        "json.load(file)\nsubprocess.run(['ls'], shell=False)\n"
    )
    assert list(offences("scarseg_infer/x.py", ast.parse(code))) == []
