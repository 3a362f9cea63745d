"""Rows measured side by side, with what runs and what is stopped under control."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from scarseg_bench import measure as measuring
from scarseg_bench.cases import Case
from scarseg_bench.measure import Budget, Settings, _scope
from scarseg_bench.numbers import summary
from scarseg_bench.pairing import BrokenError, Load, Plan, Run, burst, paired
from scarseg_bench.peers import COMPILED
from scarseg_bench.processor_time import busy_s, ended_children_s, group_cpu_s
from scarseg_bench.row_process import RowProcess
from scarseg_bench.rows import COLD, GPU, NETWORK, REFERENCE, STUDY, Row, all_rows

PLAN = Plan(rounds=3, shortest_s=0.5, most=8, fewest=2)


class World:
    """A clock, and the processor time of all that runs by it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.busy = 0.0
        self.others = 0.0
        """Cores that other processes take."""
        self.awake: set[str] = set()

    def passes(self, seconds: float, cores: float = 1.0) -> None:
        self.now += seconds
        self.busy += seconds * (cores + self.others)

    def load(self, cores: int = 2) -> Load:
        return Load(lambda: self.busy, cores, lambda: self.now, lambda: 0.0)


class Fake:
    """A runner that takes a time of the world's clock."""

    def __init__(self, world: World, name: str, seconds: float, fails_after: int = 10**6) -> None:
        self.world, self.name, self.seconds = world, name, seconds
        self.taken = 0.0
        self.count = 0
        self.fails_after = fails_after

    def run(self) -> Run:
        assert self.world.awake == {self.name}, "something else is awake"
        self.count += 1
        if self.count > self.fails_after:
            raise BrokenError("the process ended")
        self.world.passes(self.seconds)
        self.taken += self.seconds
        return Run(self.seconds)

    def park(self) -> None:
        self.world.awake.discard(self.name)

    def resume(self) -> None:
        self.world.awake.add(self.name)

    def cpu_s(self) -> float:
        return self.taken


def test_only_what_is_measured_is_awake() -> None:
    world = World()
    base, own = Fake(world, "base", 0.4), Fake(world, "own", 0.1)
    rounds = paired(base, own, PLAN, world.load())
    assert [found.ratio for found in rounds] == [pytest.approx(4.0)] * 3
    assert world.awake == set()
    assert all(found.foreign == pytest.approx(0.0) for found in rounds)


def test_a_burst_lasts_long_enough_and_its_first_run_does_not_count() -> None:
    world = World()
    fast, slow, instant = (
        Fake(world, name, seconds)
        for name, seconds in (("fast", 0.1), ("slow", 3.0), ("instant", 1e-6))
    )
    assert len(burst(fast, PLAN)) == 5 and fast.count == 6
    assert len(burst(slow, PLAN)) == 2
    assert len(burst(instant, PLAN)) == PLAN.most


def test_no_round_is_begun_when_time_is_over() -> None:
    world = World()
    base, own = Fake(world, "base", 4.0), Fake(world, "own", 1.0)
    rounds = paired(base, own, PLAN, world.load(), lambda: world.now > 20 and "no time left")
    assert [found.ratio for found in rounds] == [pytest.approx(4.0)] * 2
    assert len(paired(base, own, PLAN, world.load(), lambda: "no time left")) == 1


def test_a_broken_row_leaves_nothing_awake() -> None:
    world = World()
    with pytest.raises(BrokenError):
        burst(Fake(world, "own", 0.1, fails_after=1), PLAN)
    assert world.awake == set()


def test_others_on_the_cores_are_seen() -> None:
    world = World()
    world.others = 0.6
    rounds = paired(Fake(world, "base", 0.4), Fake(world, "own", 0.1), PLAN, world.load())
    assert rounds[0].foreign == pytest.approx(0.3)


def rows_of(world: World, drift: float = 1.0, others: float = 0.0) -> list[Row]:
    """A scope of three rows, the second of which breaks; the reference gets slower by ``drift``
    after its first burst."""
    base = Row(NETWORK, REFERENCE, "")
    others_rows = [Row(NETWORK, "cpu", "fp32"), Row(NETWORK, "openvino", "fp32")]
    speeds = {REFERENCE: 0.4, "cpu fp32": 0.2, "openvino fp32": 0.1}

    def opened(row: Row) -> Fake:
        world.others = others
        fails_after = 4 if row.way == "openvino" else 10**6
        fake = Fake(world, row.name, speeds[row.name], fails_after)
        if row.name != REFERENCE:
            reference.seconds = 0.4 * drift
            return fake
        return reference

    reference = Fake(world, REFERENCE, 0.4)
    _scope(base, others_rows, opened, PLAN, Budget(None), world.load())
    return [base, *others_rows]


def test_a_scope_compares_rows_with_the_reference_beside_them() -> None:
    base, good, broken = map(summary, rows_of(World()))
    assert (base["times_faster"], good["times_faster"]) == (1.0, pytest.approx(2.0))
    assert broken["error"] == "the process ended"
    assert "p50_ms" not in broken


def test_no_ratio_where_the_reference_changed() -> None:
    for drift, reason in ((1.16, "+16 % off"), (0.84, "-16 % off")):
        base, good, _ = map(summary, rows_of(World(), drift))
        assert reason in base["no_ratio"] and reason in good["no_ratio"]
        assert "times_faster" not in base and "times_faster" not in good
    base, good, _ = map(summary, rows_of(World(), 1.1))
    assert good["times_faster"] == pytest.approx(2.2)


def test_no_ratio_where_others_took_the_cores() -> None:
    _, good, _ = map(summary, rows_of(World(), others=0.5))
    assert "took up to 25 % of the cores" in good["no_ratio"]
    assert "times_faster" not in good
    assert good["p50_ms"] == pytest.approx(200.0)


def test_a_reference_that_fails_leaves_nothing_to_compare_with() -> None:
    def opened(row: Row) -> Fake:
        raise BrokenError("no memory")

    rows = [Row(NETWORK, REFERENCE, ""), Row(NETWORK, "cpu", "fp32")]
    _scope(rows[0], rows[1:], opened, PLAN, Budget(None), World().load())
    assert all("no memory" in str(row.error) for row in rows)


def test_other_work_has_no_ratio() -> None:
    world = World()
    rows = [Row(NETWORK, REFERENCE, ""), Row(NETWORK, "cpu", "", other_work="one file, not eight")]
    runners = {row.name: Fake(world, row.name, 0.4) for row in rows}
    _scope(rows[0], rows[1:], lambda row: runners[row.name], PLAN, Budget(None), world.load())
    found = summary(rows[1])
    assert found["no_ratio"] == "one file, not eight" and found["p50_ms"] == pytest.approx(400.0)
    assert "times_faster" not in found and summary(rows[0])["times_faster"] == 1.0


def test_what_takes_long_to_get_ready_is_measured_after_all_scopes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing that is quick goes without a number because torch.compile took the time."""
    order: list[tuple[str, str, list[str]]] = []

    def seen(base: Row, others: list[Row], *rest: object) -> None:
        order.append((base.scope, base.name, [row.name for row in others]))

    monkeypatch.setattr(measuring, "case_arrays", lambda case: {})
    monkeypatch.setattr(measuring, "_warm_scope", seen)
    monkeypatch.setattr(measuring, "_cold_scope", seen)
    rows = [row for row in all_rows() if not row.way.startswith("nnunet")]
    measuring.measure(rows, Settings(PLAN, 2, Case(), Budget(None)))
    assert [scope for scope, _, _ in order if scope != GPU] == [NETWORK, STUDY, COLD, NETWORK]
    assert order[-1] == (NETWORK, REFERENCE, [f"pytorch {COMPILED}"])
    earlier = [name for *_, names in order[:-1] for name in names]
    assert f"pytorch {COMPILED}" not in earlier


def test_nothing_is_begun_when_time_is_over() -> None:
    now = [0.0]
    budget = Budget(4.0, lambda: now[0])
    assert budget.over() is None
    now[0] = 4 * 60 - measuring.RESERVE_S
    assert "--minutes 4" in str(budget.over())
    assert budget.patience_s(600.0) == measuring.RESERVE_S
    assert Budget(None).patience_s(600.0) == 600.0
    assert Budget(None, lambda: 1e9).over() is None
    rows = [Row(NETWORK, REFERENCE, ""), Row(NETWORK, "cpu", "fp32")]
    _scope(rows[0], rows[1:], Any, PLAN, budget, World().load())  # type: ignore[arg-type]
    assert all("--minutes 4" in str(row.error) for row in rows)


linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
SPIN = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"


@linux
def test_processor_time_of_a_group_holds_that_of_its_children() -> None:
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SPIN!r}]); input()"
    before = busy_s()
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, process_group=0
    ) as started:
        while (group_cpu_s(started.pid) or 0.0) < 0.3:
            assert started.poll() is None
            time.sleep(0.05)
        ours = ended_children_s()
        started.communicate(b"\n")
    assert ended_children_s() - ours >= 0.3
    after = busy_s()
    assert before is not None and after is not None and after - before >= 0.29


def test_the_name_of_a_process_may_hold_anything(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "12").mkdir()
    fields = ["S", "1", "77", *["0"] * 8, "100", "50", "25", "25", *["0"] * 10]
    (tmp_path / "12" / "stat").write_text(f"12 (a) b (c)) {' '.join(fields)}\n")
    (tmp_path / "13").mkdir()  # ended meanwhile
    assert group_cpu_s(77, tmp_path) == pytest.approx(200 / os.sysconf("SC_CLK_TCK"))
    assert group_cpu_s(78, tmp_path) == 0.0
    assert group_cpu_s(77, tmp_path / "nowhere") is None


@linux
def test_a_rows_process_is_stopped_with_its_threads_and_wakes() -> None:
    """ONNX Runtime for real; a stopped process takes no processor time."""
    from scarseg_bench.cases import case_arrays

    row = Row(NETWORK, "cpu", "fp32")
    process = RowProcess(row, case_arrays(Case(2, 64, 64)), 2)
    try:
        process.start()
        assert row.first_s is not None
        pid = process._process.pid
        while state(pid) != "T":  # every thread stops on its own
            time.sleep(0.01)
        before = process.cpu_s()
        time.sleep(0.2)
        assert process.cpu_s() == before
        process.resume()
        assert process.run().total_s > 0
        assert process.ask("outputs")["labels"].shape == (2, 64, 64)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(BrokenError, match="ended"):
            process.run()
    finally:
        process.stop()


def state(pid: int | None) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
