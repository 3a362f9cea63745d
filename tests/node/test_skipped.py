"""Tests that say the node is reliable are not left out in CI: there they fail instead."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # each runs pytest anew, several times

HERE = Path(__file__).parent
WITHOUT = """
import sys
import pytest

class Without:
    def pytest_collection(self):
        sys.modules[sys.argv[1]] = None

sys.exit(pytest.main(sys.argv[2:], plugins=[Without()]))
"""
"""Runs tests where a package cannot be imported."""


def outcome(where: str, missing: str, programs: Path, ci: bool) -> tuple[int, str]:
    """Exit code and words of some tests without a package, and with other programs before ours."""
    environment = {key: value for key, value in os.environ.items() if key != "CI"}
    environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # they take longer than what is tested
    done = subprocess.run(
        [
            sys.executable, "-c", WITHOUT, missing, HERE / where, "-rs", "-p", "no:cacheprovider",
            "-p", f"no:{missing}",  # what the package adds to pytest itself
        ],
        env=environment | ({"CI": "true"} if ci else {}), cwd=HERE.parents[1],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("where", "missing"),
    [
        ("test_openapi.py", "schemathesis"),
        ("test_http_limits.py", "pynetdicom"),
        ("test_exchange.py::test_new_results_only_for_new_images", "pynetdicom"),
    ],
)
def test_missing_package(tmp_path: Path, where: str, missing: str) -> None:
    code, said = outcome(where, missing, tmp_path, ci=False)
    assert code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED), said
    assert "SKIPPED" in said
    code, said = outcome(where, missing, tmp_path, ci=True)
    assert code in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED), said
    assert missing in said and "SKIPPED" not in said


@pytest.mark.skipif(os.name == "nt", reason="such programs are not looked for on Windows")
@pytest.mark.parametrize(
    ("where", "program", "why"),
    [
        ("test_power_loss.py", "strace", "tracing is not allowed"),
        ("test_refused.py::test_disk_that_is_full_to_the_last_byte", "mount", "needs root"),
    ],
)
def test_what_the_machine_forbids(tmp_path: Path, where: str, program: str, why: str) -> None:
    """Played by a program of that name that fails, as it does where it is forbidden."""
    (tmp_path / program).write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / program).chmod(0o755)
    code, said = outcome(where, "no_such_package", tmp_path, ci=False)
    assert code == pytest.ExitCode.OK, said
    assert "SKIPPED" in said and why in said
    code, said = outcome(where, "no_such_package", tmp_path, ci=True)
    assert code == pytest.ExitCode.TESTS_FAILED, said
    assert why in said and "SKIPPED" not in said
