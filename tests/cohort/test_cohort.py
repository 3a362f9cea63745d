"""Cohorts on a real Ray cluster of several nodes, each of real processes on this machine."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from pyarrow import parquet

from scarseg_infer.cohort.address import authentication, reached
from scarseg_infer.cohort.results import columns
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY
from scarseg_runtime.errors import ProviderError

STUDIES = 16
LIMIT_S = 240.0


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """A table of the demo study under many names, and one study that does not exist."""
    with (tmp_path / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "study", "ecg"])
        for number in range(STUDIES):
            folder = shutil.copytree(DEMO_STUDY, tmp_path / f"study{number}")
            writer.writerow([f"p{number}", folder.name, DEMO_ECG if number % 2 else ""])
        writer.writerow(["missing", "nowhere", ""])
    return tmp_path


def started(tries: int = 3) -> Any:
    """A head without cores and two nodes of one core each. Ray gives up on a start after half a
    minute, which a busy machine may need."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_AUTH_MODE"] = "disabled"  # whatever lies in the home folder
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False}
    for left in reversed(range(tries)):
        try:
            found = Cluster(initialize_head=True, head_node_args=head)
            for _ in range(2):
                found.add_node(num_cpus=1)
            found.wait_for_nodes()
            return found
        except (Exception, SystemExit):
            if not left:
                raise
    return None


@pytest.fixture
def cluster() -> Iterator[Any]:
    found = started()
    yield found
    found.shutdown()


def start(folder: Path, *more: str, **variables: str) -> subprocess.Popen[str]:
    """A run with a home folder of its own. Without --address it must not join a cluster."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")}
    environment |= {"HOME": str(folder / "home"), "RAY_ADDRESS": "192.0.2.1:6379", **variables}
    command = [sys.executable, "-m", "scarseg_infer.cohort.main", folder / "table.csv"]
    return subprocess.Popen(
        [*command, "-o", folder / "out", "--only", "json", "--provider", "cpu", *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


def ended(run: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = run.communicate(timeout=LIMIT_S)
    return run.returncode, out, err


def table(folder: Path) -> dict[str, dict[str, Any]]:
    rows = parquet.read_table(folder / "out" / "results.parquet").to_pylist()
    return {row["id"]: row for row in rows}


def journal(folder: Path) -> list[dict[str, Any]]:
    """Notes so far: a line for each study that was computed or failed, none for others."""
    file = folder / "out" / "cohort.jsonl"
    lines = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
    return [json.loads(line) for line in lines if line]


def done(folder: Path) -> list[str]:
    return [line["id"] for line in journal(folder) if line["state"] == "done"]


def wait_until(true: Callable[[], object]) -> None:
    end = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def parents(process: int) -> Iterator[int]:
    while process > 1:
        try:
            status = Path(f"/proc/{process}/stat").read_text()
        except OSError:  # it has ended
            return
        process = int(status.rpartition(")")[2].split()[1])
        yield process


def below(of: int) -> Iterator[tuple[int, bytes]]:
    """The processes below a process, with their command lines."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            line = (process / "cmdline").read_bytes()
            if of in parents(int(process.name)):
                yield int(process.name), line


def workers(of: int, doing: str = "StudyWorker") -> list[int]:
    """Processes of Ray's workers below a process, by the title that Ray gives them."""
    title = f"ray::{doing}".encode()
    return [process for process, line in below(of) if line.startswith(title)]


def check_all_done(folder: Path, run: tuple[int, str, str]) -> None:
    code, out, err = run
    assert code == 7, err
    (line,) = out.splitlines()  # and nothing of Ray's
    assert f"{STUDIES + 1} studies" in line and "1 failed" in line
    assert sorted(done(folder)) == sorted(f"p{number}" for number in range(STUDIES))  # each once
    assert not list((folder / "out").glob(".*partial*"))
    rows = table(folder)
    assert list(rows) == [*(f"p{number}" for number in range(STUDIES)), "missing"]
    for name, row in rows.items():
        if name == "missing":
            assert (row["state"], row["error_kind"]) == ("failed", "StudyError")
            assert row["scar_ml"] is None
            continue
        document = json.loads((folder / "out" / name / "result.json").read_text())
        assert row["state"] == "done" and row["error"] is None
        assert row["scar_ml"] == document["quantities"]["scar_ml"]
        assert row["ecg_weight"] == document["ecg"]["weight"]
        assert row["segment_13_burden"] == document["segments"][12]["burden"]
        assert (row["ecg_weight"] > 0) == bool(int(name[1:]) % 2)
    with (folder / "out" / "failures.csv").open(newline="") as file:
        assert [line["id"] for line in csv.DictReader(file)] == ["missing"]
    assert "study0" not in err + out


def changed(folder: Path) -> None:
    """The last pixel of a study, by nothing that the file system tells."""
    file = max(folder.iterdir())
    status = file.stat()
    content = file.read_bytes()
    file.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.slow
@pytest.mark.serial
def test_one_machine_goes_on_where_it_stopped(cohort: Path) -> None:
    run = start(cohort, "--workers", "2")
    wait_until((cohort / "out" / "cohort.jsonl").exists)
    run.send_signal(signal.SIGSTOP)  # or a busy machine has done everything meanwhile
    second = start(cohort)
    code, _, err = ended(second)
    assert code == 2 and "another run uses OUT" in err
    run.send_signal(signal.SIGCONT)
    wait_until(lambda: len(done(cohort)) >= 3 or run.poll() is not None)
    run.send_signal(signal.SIGINT)
    code, _, err = ended(run)
    assert code == 130 and err.splitlines()[-1].endswith("goes on from here."), err
    first = table(cohort)
    states = [row["state"] for row in first.values()]
    assert "waiting" in states and states.count("done") >= 3
    assert parquet.read_schema(cohort / "out" / "results.parquet").names == columns()

    check_all_done(cohort, ended(start(cohort, "--workers", "2")))
    assert not (cohort / "home" / ".ray").exists()  # no token is left behind

    os.utime(next((cohort / "study2").iterdir()))
    changed(cohort / "study3")
    (cohort / "out" / "p5" / "result.json").unlink()
    (cohort / "out" / "cohort.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in journal(cohort) if line["id"] != "p7")
    )
    before = len(journal(cohort))
    code, out, err = ended(start(cohort, "--workers", "1"))
    assert code == 7 and f"3 done, {STUDIES - 3} unchanged, 1 failed" in out, err
    again = {line["id"] for line in journal(cohort)[before:]}
    assert again == {"p3", "p5", "p7", "missing"}


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_was_stopped_is_taken_up(cohort: Path, number: signal.Signals) -> None:
    half = cohort / "out" / f".p0-{'0' * 16}.partial"
    half.mkdir(parents=True)
    (half / "scar.dcm").touch()
    run = start(cohort, "--workers", "1")
    wait_until(lambda: len(done(cohort)) >= 2 or run.poll() is not None)
    assert not half.exists()
    half.mkdir()
    run.send_signal(number)
    code, out, err = ended(run)
    if number == signal.SIGTERM:
        assert (code, out) == (143, ""), err
        assert err.splitlines()[-1] == (
            "scarseg-cohort: stopped; the same command goes on from here."
        )
        assert "SIGTERM" not in err  # Ray's own handler prints a stack of C++
        assert {name for name, row in table(cohort).items() if row["state"] == "done"} == set(
            done(cohort)
        )
        assert not half.exists()
    else:
        assert code == -signal.SIGKILL
    check_all_done(cohort, ended(start(cohort, "--workers", "2")))


@pytest.mark.slow
@pytest.mark.serial
def test_nobody_else_can_use_the_ray_of_a_run(
    cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(cohort / "elsewhere"))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    run = start(cohort, "--workers", "1")
    try:
        wait_until(lambda: done(cohort) or run.poll() is not None)
        run.send_signal(signal.SIGSTOP)  # its cluster is other processes
        said = b"\0".join(line for _, line in below(run.pid))
        found = re.search(rb"--gcs-address=([0-9.]+:[0-9]+)", said)
        assert found is not None
        with pytest.raises(ProviderError, match="wants an authentication token"):
            authentication(reached(found[1].decode()))
    finally:
        run.send_signal(signal.SIGCONT)
        check_all_done(cohort, ended(run))


@pytest.mark.slow
@pytest.mark.serial
def test_ids_that_move_and_studies_that_break(tmp_path: Path) -> None:
    """Ids are numbers of rows here, so that without its first row the table means other studies."""
    for name in ("alice", "bob"):
        shutil.copytree(DEMO_STUDY, tmp_path / name / "LGE")  # with the times of the originals
    changed(tmp_path / "bob" / "LGE")
    listed = tmp_path / "table.csv"

    def run(*more: str) -> tuple[int, str]:
        code, out, _ = ended(start(tmp_path, "--workers", "1", *more))
        return code, out.partition(". ")[0]

    listed.write_text("study\nalice/LGE\nbob/LGE\n")
    assert run() == (0, "2 studies: 2 done, 0 unchanged, 0 failed")
    listed.write_text("study\nbob/LGE\n")
    assert run() == (0, "1 studies: 1 done, 0 unchanged, 0 failed")
    assert run("--allow-identity-mismatch") == (0, "1 studies: 1 done, 0 unchanged, 0 failed")
    assert run("--allow-identity-mismatch") == (0, "1 studies: 0 done, 1 unchanged, 0 failed")
    (tmp_path / "bob").rename(tmp_path / "away")  # as a share that is off
    assert run() == (7, "1 studies: 0 done, 0 unchanged, 1 failed")
    assert table(tmp_path)["00001"]["state"] == "failed"
    assert (tmp_path / "out" / "00001" / "result.json").exists()
    (tmp_path / "away").rename(tmp_path / "bob")
    for file in (tmp_path / "bob" / "LGE").iterdir():
        file.write_bytes(b"broken")
    assert run() == (7, "1 studies: 0 done, 0 unchanged, 1 failed")
    assert table(tmp_path)["00001"]["state"] == "failed"
    assert not (tmp_path / "out" / "00001").exists()
    assert (tmp_path / "out" / "00002" / "result.json").exists()  # of a row that is gone


def other_machine(cluster: Any) -> Any:
    """A node that a run on this cluster does not itself hang on, which no run survives: all nodes
    have the address of this machine here, and Ray before 2.60 may take any of them."""
    ask = "import ray, sys; ray.init(sys.argv[1]); print(ray.get_runtime_context().get_node_id())"
    command = [sys.executable, "-c", ask, cluster.address]
    own = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]
    return next(node for node in cluster.list_all_nodes()[1:] if node.node_id != own)


@pytest.mark.slow
@pytest.mark.serial
def test_a_cluster_survives_the_death_of_a_worker_and_of_a_node(cohort: Path, cluster: Any) -> None:
    lost = other_machine(cluster)
    (cohort / "home" / ".ray").mkdir(parents=True)
    (cohort / "home" / ".ray" / "auth_token").write_text("of another cluster, this one has none")
    run = start(cohort, "--address", cluster.address)
    wait_until(lambda: len(workers(os.getpid())) == 2 and len(done(cohort)) >= 1)
    os.kill(workers(os.getpid())[0], signal.SIGKILL)
    wait_until(lambda: len(done(cohort)) >= 4)
    assert run.poll() is None  # there is something left to lose
    cluster.remove_node(lost, allow_graceful=False)
    check_all_done(cohort, ended(run))


@pytest.mark.slow
@pytest.mark.serial
def test_a_machine_that_cannot_run_workers_is_done_without(cohort: Path, cluster: Any) -> None:
    # As where the package is not installed; Ray hands the paths of the driver on to all workers.
    (cohort / "without").mkdir()
    without = "import sys\nsys.modules['scarseg_infer'] = None\n"
    (cohort / "without" / "sitecustomize.py").write_text(without)
    cluster.remove_node(other_machine(cluster))
    cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": str(cohort / "without")})
    cluster.wait_for_nodes()
    run = start(cohort, "--address", cluster.address, "--workers", "2")
    wait_until(lambda: done(cohort) or run.poll() is not None)
    able: list[int] = []  # a worker may be between two studies
    wait_until(
        lambda: (
            able.extend(workers(os.getpid(), "StudyWorker.process"))
            or able
            or run.poll() is not None
        )
    )
    for process in able:  # until the other machine has been tried
        os.kill(process, signal.SIGSTOP)
    try:
        assert run.stderr is not None
        said = next(line for line in run.stderr if "fewer workers" in line)
    finally:
        for process in able:
            os.kill(process, signal.SIGCONT)
    assert "workers die when they start" in said and "No module named 'scarseg_infer" in said
    check_all_done(cohort, ended(run))


OWN_CLUSTER = """
import sys
from ray.cluster_utils import Cluster
node = {"num_cpus": 1, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=node)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.mark.slow
@pytest.mark.serial
def test_a_cluster_with_tokens(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(f"study\n{DEMO_STUDY}\n")
    token = {"RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
    head = subprocess.Popen(
        [sys.executable, "-c", OWN_CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
        env=os.environ | token | {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"},
    )  # fmt: skip
    with head:
        assert head.stdout is not None
        address = head.stdout.readline().strip()
        for variables in ({}, {"RAY_AUTH_TOKEN": "another" * 8}):
            code, _, err = ended(start(tmp_path, "--address", address, **variables))
            assert code == 5 and "authentication token" in err
        wide = start(tmp_path, "--address", address, "--threads-per-worker", "64", **token)
        code, _, err = ended(wide)
        assert code == 5 and "no machine of the cluster has 64 cores (the most is 1)" in err
        (tmp_path / "home" / ".ray").mkdir(parents=True)
        (tmp_path / "home" / ".ray" / "auth_token").write_text(token["RAY_AUTH_TOKEN"])
        code, out, err = ended(start(tmp_path, "--address", "auto", RAY_ADDRESS=address))
        assert code == 0 and "1 done" in out, err


def test_an_address_without_a_cluster_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("study\nx\n")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    code, _, err = ended(start(tmp_path, "--address", f"127.0.0.1:{port}"))
    assert code == 5 and err.count("\n") == 1
    assert "nothing answers at the address of the Ray cluster (Connection refused)" in err
    assert [row["state"] for row in table(tmp_path).values()] == ["waiting"]


@pytest.mark.slow
@pytest.mark.serial
def test_a_study_that_kills_its_workers_is_given_up(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).gamma(2, 100, (512, 512, 30)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(noise, np.diag([1.0, 1.0, 8.0, 1.0])), tmp_path / "slow.nii")
    (tmp_path / "table.csv").write_text(f"id,study\ngood,{DEMO_STUDY}\nslow,slow.nii\n")
    # The good one first: both are dealt out in order to the only worker.
    run = start(tmp_path, "--workers", "1")
    over = threading.Event()

    def kill_whoever_is_slow() -> None:
        while not over.wait(0.02):
            if "good" in done(tmp_path):
                for process in workers(run.pid, "StudyWorker.process"):
                    os.kill(process, signal.SIGKILL)

    killer = threading.Thread(target=kill_whoever_is_slow)
    killer.start()
    try:
        code, out, err = ended(run)
    finally:
        over.set()
        killer.join()
    assert code == 7 and "1 done" in out, err
    assert len(out.splitlines()) == 1  # Ray's complaints of dead workers are not in it
    row = table(tmp_path)["slow"]
    assert (row["state"], row["error_kind"]) == ("failed", "WorkerDied")
    assert row["error"].startswith("3 workers died")
    assert table(tmp_path)["good"]["state"] == "done"
