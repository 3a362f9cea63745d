"""``scarseg-web``: builds the page that segments a study in the browser.

Node and npm build it; the page itself needs neither. Packages come from npm by the lock file beside
the source, each with its checksum.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Final

from scarseg_infer.models import model_path
from scarseg_runtime.console import CommandParser, results_are_there, run_console
from scarseg_runtime.errors import OutputError, ScarsegError, UsageError
from scarseg_runtime.version import __version__
from scarseg_runtime.whole import whole_file

SOURCE: Final = Path(__file__).with_name("src")
_NOT_SOURCE: Final = ("node_modules",)
_INSTALL: Final = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
"""By the lock file alone; no package runs a program of its own."""
_BUILT_FOR: Final = "installed-for.json"


def parser() -> argparse.ArgumentParser:
    """Options of the command line."""
    arguments = CommandParser(
        prog="scarseg-web",
        description=(
            "Build one static page that finds scar in the browser: no server, no upload, "
            "works offline. Needs Node 20 or newer with npm. Research use only."
        ),
    )
    add = arguments.add_argument
    add("-o", "--out", metavar="FILE", type=Path, default=Path("scarseg.html"),
        help="page to write (default: scarseg.html)")  # fmt: skip
    add("--model", metavar="FILE", type=Path, help="model file (default: the reference model)")
    add("--work", metavar="FOLDER", type=Path,
        help="keep npm's packages here (default: a folder that is removed)")  # fmt: skip
    add("--version", action="version", version=f"%(prog)s {__version__}")
    return arguments


def build_page(out: Path, model: Path | None = None, work: Path | None = None) -> None:
    """Build the page.

    Args:
        out: the page; replaced where it exists, whole or not at all.
        model: model file in FP32; None for the reference model.
        work: folder that keeps npm's packages; None for one that is removed.

    Raises:
        UsageError: Node or npm are not installed.
        ModelError: ``model`` is no model file of ours.
        OutputError: packages cannot be installed, or the page cannot be built or written.
    """
    _check_model(model)
    with _work_folder(work) as folder:
        install(folder)
        built = folder / "page.html"
        write_bundle(folder, model, {"page": str(built)})
        _put(built, out)


def install(folder: Path) -> None:
    """Copy the source into a folder and install npm's packages there, unless they are those of the
    lock file already.

    Raises:
        UsageError, OutputError: see :func:`build_page`.
    """
    lock = (SOURCE / "package-lock.json").read_text(encoding="utf-8")
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns(*_NOT_SOURCE), dirs_exist_ok=True)
    done = folder / _BUILT_FOR
    if done.is_file() and done.read_text(encoding="utf-8") == lock:
        return
    _run("installing npm's packages", "npm", [*_INSTALL], folder)
    done.write_text(lock, encoding="utf-8")


def write_bundle(folder: Path, model: Path | None, outputs: dict[str, str]) -> None:
    """Run the build in a folder of :func:`install`.

    Args:
        outputs: files to write: ``page``, the page; ``core``, its core as a module.

    Raises:
        UsageError, OutputError: see :func:`build_page`.
    """
    package = resources.files("scarseg_infer")
    with model_path(model) as file, resources.as_file(package) as root:
        config = {
            "version": __version__,
            "rules": str(root / "study" / "dicom" / "series_rules.toml"),
            "assets": str(root / "write" / "report" / "assets"),
            "model": str(file.resolve()),
            "demo": str(root / "demo"),
            **outputs,
        }
        place = folder / "config.json"
        place.write_text(json.dumps(config), encoding="utf-8")
        _run("building the page", "node", ["build.mjs", str(place)], folder)


def _check_model(model: Path | None) -> None:
    """Raises ModelError where the page would not run the file."""
    from scarseg_runtime.errors import ModelError
    from scarseg_runtime.model_file.read import read_model_file

    if model is not None and read_model_file(model).metadata.precision != "fp32":
        raise ModelError("the page runs models in FP32 only", "Give the FP32 file")


@contextmanager
def _work_folder(work: Path | None) -> Iterator[Path]:
    try:
        if work is None:
            with tempfile.TemporaryDirectory(prefix="scarseg-web-") as folder:
                yield Path(folder)
        else:
            work.mkdir(parents=True, exist_ok=True)
            yield work.resolve()
    except OSError as error:
        if isinstance(error, ScarsegError):
            raise
        raise OutputError(
            f"the page cannot be built ({error.strerror})", "Check disk space and permissions"
        ) from error


def _run(what: str, program: str, arguments: list[str], folder: Path) -> None:
    found = shutil.which(program)  # on Windows npm is a batch file, which only its path starts
    if found is None:
        raise UsageError(f"{program} is not installed", "Install Node 20 or newer with npm")
    done = subprocess.run(
        [found, *arguments], cwd=folder, capture_output=True, text=True, errors="replace",
        check=False,
    )  # fmt: skip
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()
        raise OutputError(f"{what} failed ({lines[0][:200]})", "Check the network, and disk space")


def _put(built: Path, out: Path) -> None:
    """The page at its place, whole or not at all."""
    try:
        with whole_file(out) as part:
            shutil.copyfile(built, part)
    except OSError as error:
        raise OutputError(
            f"the page cannot be written ({error.strerror})", "Choose another place with -o"
        ) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = parser().parse_args(argv)
    try:
        build_page(arguments.out, arguments.model, arguments.work)
    except ScarsegError as error:
        sys.stderr.write(f"scarseg-web: {error}\n")
        return error.exit_code
    results_are_there()
    size = arguments.out.stat().st_size / 2**20
    sys.stdout.write(f"{arguments.out}: {size:.1f} MB. Open it in a browser.\n")
    return 0


def run() -> None:
    """Entry point of the console script."""
    sys.exit(run_console("scarseg-web", main))
