"""Cohorts on a real Ray cluster of several nodes, each of real processes on this machine."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
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

from scarseg_infer.cohort.results import columns
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY

STUDIES = 10
LIMIT_S = 240.0


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """A table of the demo study under ten names, and one study that does not exist."""
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
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False}
    # Ray handles SIGTERM from then on. Processes that other tests fork would inherit that, and one
    # that is told to end just before it waits for a lock (pools of workers do so) waits for ever.
    before = signal.getsignal(signal.SIGTERM)
    try:
        return _started(Cluster, head, tries)
    finally:
        signal.signal(signal.SIGTERM, before)


def _started(make: Any, head: dict[str, Any], tries: int) -> Any:
    for left in reversed(range(tries)):
        try:
            found = make(initialize_head=True, head_node_args=head)
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


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "scarseg_infer.cohort.main", folder / "table.csv"]
    return subprocess.Popen(
        [*command, "-o", folder / "out", "--only", "json", "--provider", "cpu", *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(run: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = run.communicate(timeout=LIMIT_S)
    return run.returncode, out, err


def table(folder: Path) -> dict[str, dict[str, Any]]:
    rows = parquet.read_table(folder / "out" / "results.parquet").to_pylist()
    return {row["id"]: row for row in rows}


def settled(folder: Path) -> int:
    journal = folder / "out" / "cohort.jsonl"
    return journal.read_bytes().count(b'"state"') if journal.exists() else 0


def wait_until(true: Callable[[], object]) -> None:
    end = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def workers(doing: str = "StudyWorker") -> list[int]:
    """Processes of Ray's workers, by the title that Ray gives them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            title = (process / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        if title.startswith(f"ray::{doing}".encode()):
            found.append(int(process.name))
    return found


def check_all_done(folder: Path, run: tuple[int, str, str]) -> None:
    code, out, err = run
    assert code == 7, err
    assert f"{STUDIES + 1} studies" in out and "1 failed" in out
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


def test_one_machine_goes_on_where_it_stopped(cohort: Path) -> None:
    run = start(cohort, "--workers", "2")
    wait_until((cohort / "out" / "cohort.jsonl").exists)
    second = start(cohort)
    code, _, err = ended(second)
    assert code == 2 and "another run uses OUT" in err
    wait_until(lambda: settled(cohort) >= 3 or run.poll() is not None)
    run.send_signal(signal.SIGINT)
    code, _, err = ended(run)
    assert code == 130 and err.splitlines()[-1].endswith("goes on from here.")
    first = table(cohort)
    states = [row["state"] for row in first.values()]
    assert "waiting" in states and states.count("done") >= 2
    assert parquet.read_schema(cohort / "out" / "results.parquet").names == columns()

    def times() -> dict[str, int]:
        out = (cohort / "out").glob("*/result.json")
        return {file.parent.name: file.stat().st_mtime_ns for file in out}

    before = {name: at for name, at in times().items() if first[name]["state"] == "done"}
    check_all_done(cohort, ended(start(cohort, "--workers", "2")))
    complete = times()
    assert before.items() <= complete.items()  # nothing was done twice

    os.utime(next((cohort / "study3").iterdir()))
    (cohort / "out" / "p5" / "result.json").unlink()
    run = start(cohort, "--workers", "1")
    check_all_done(cohort, ended(run))
    changed = {name for name, at in times().items() if at != complete[name]}
    assert changed == {"p3", "p5"}


def other_machine(cluster: Any) -> Any:
    """A node that a run on this cluster does not itself hang on, which no run survives: all nodes
    have the address of this machine here, and Ray before 2.60 may take any of them."""
    ask = "import ray, sys; ray.init(sys.argv[1]); print(ray.get_runtime_context().get_node_id())"
    command = [sys.executable, "-c", ask, cluster.address]
    own = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]
    return next(node for node in cluster.list_all_nodes()[1:] if node.node_id != own)


def test_a_cluster_survives_the_death_of_a_worker_and_of_a_node(cohort: Path, cluster: Any) -> None:
    lost = other_machine(cluster)
    run = start(cohort, "--address", cluster.address)
    wait_until(lambda: len(workers()) == 2 and settled(cohort) >= 1)
    os.kill(workers()[0], signal.SIGKILL)
    wait_until(lambda: settled(cohort) >= 4)
    assert run.poll() is None  # there is something left to lose
    cluster.remove_node(lost, allow_graceful=False)
    check_all_done(cohort, ended(run))


def test_a_study_that_kills_its_workers_is_given_up(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).gamma(2, 100, (512, 512, 30)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(noise, np.diag([1.0, 1.0, 8.0, 1.0])), tmp_path / "slow.nii")
    (tmp_path / "table.csv").write_text(f"id,study\nslow,slow.nii\ngood,{DEMO_STUDY}\n")
    over = threading.Event()

    def kill_whoever_is_slow() -> None:
        while not over.wait(0.02):
            for process in workers("StudyWorker.process"):
                if (tmp_path / "out" / "good" / "result.json").exists():
                    os.kill(process, signal.SIGKILL)

    killer = threading.Thread(target=kill_whoever_is_slow)
    killer.start()
    try:
        # The good one first: both are dealt out in order to the only worker.
        lines = (tmp_path / "table.csv").read_text().splitlines()
        (tmp_path / "table.csv").write_text("\n".join([lines[0], lines[2], lines[1]]))
        code, out, err = ended(start(tmp_path, "--workers", "1"))
    finally:
        over.set()
        killer.join()
    assert code == 7 and "1 done" in out, err
    row = table(tmp_path)["slow"]
    assert (row["state"], row["error_kind"]) == ("failed", "WorkerDied")
    assert row["error"].startswith("3 workers died")
    assert table(tmp_path)["good"]["state"] == "done"
