"""Several that write at the same time, in threads as in processes."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from scarseg_infer.result import ScarResult
from scarseg_infer.write.folder import check_out
from scarseg_infer.write.staging import publish, staging
from scarseg_runtime.errors import OutputError

THREADS = 4


@pytest.fixture
def result(make_result: Callable, make_stack: Callable) -> ScarResult:
    return make_result(make_stack(3))


def together(write: Callable[[int], object]) -> None:
    """Call ``write`` in some threads at the same moment; what any of them raises comes out."""
    start = threading.Barrier(THREADS)

    def one(index: int) -> None:
        start.wait()
        write(index)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, range(THREADS)))


def test_threads_may_share_parents_that_do_not_exist(result: ScarResult, tmp_path: Path) -> None:
    for round_ in range(25):
        parent = tmp_path / f"{round_}" / "deep"
        together(lambda index, to=parent: result.write(to / str(index), only=["csv"]))
        assert len(list(parent.rglob("segments.csv"))) == THREADS


def test_one_that_fails_takes_no_parent_from_another(result: ScarResult, tmp_path: Path) -> None:
    """It removes what it had made only where that is empty."""
    broken = replace(result, timings_ms=Meanwhile(lambda: 1 / 0))
    for round_ in range(25):
        parent = tmp_path / f"{round_}" / "deep"

        def write(index: int, parent: Path = parent) -> None:
            if index % 2:
                result.write(parent / str(index), only=["csv"])
            else:
                with pytest.raises(ZeroDivisionError):
                    broken.write(parent / str(index), only=["json"])

        together(write)
        assert len(list(parent.rglob("segments.csv"))) == THREADS // 2
        assert len(list(parent.iterdir())) == THREADS // 2


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads give way to each other as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager_threads")
def test_parents_may_vanish_while_they_are_made(tmp_path: Path) -> None:
    """Also between their being in the way and the look at what they are: rare, so many rounds."""
    for round_ in range(1500):

        def come_and_go(index: int, parent: Path = tmp_path / f"{round_}" / "deep") -> None:
            with staging(parent / str(index)) as folder:
                assert folder.is_dir()

        together(come_and_go)


def test_threads_that_replace_one_result_leave_one(result: ScarResult, tmp_path: Path) -> None:
    for _ in range(25):
        together(lambda _: result.write(tmp_path / "out", overwrite=True, only=["csv"]))
        assert [path.name for path in tmp_path.rglob("*")] == ["out", "segments.csv"]


@pytest.mark.usefixtures("eager_threads")
def test_a_result_that_is_being_replaced_is_no_file(tmp_path: Path) -> None:
    """It is away for a moment, and another is there at the next."""
    out, away, over = tmp_path / "out", tmp_path / "away", threading.Event()
    out.mkdir()
    (out / "segments.csv").touch()

    def replace_all_the_time() -> None:
        while not over.is_set():
            out.rename(away)
            away.rename(out)

    other = threading.Thread(target=replace_all_the_time)
    other.start()
    try:
        for _ in range(1500):
            check_out(out, overwrite=True)
    finally:
        over.set()
        other.join()


class Meanwhile(Mapping[str, float]):
    """Timings of a result that make something happen while they are written: behind the checks."""

    def __init__(self, what: Callable[[], object]) -> None:
        self._what = what

    def __getitem__(self, key: str) -> float:
        return 1.0

    def __iter__(self) -> Iterator[str]:
        self._what()
        return iter(())

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_result_that_came_meanwhile_is_kept_unless_told_otherwise(
    result: ScarResult, tmp_path: Path, overwrite: bool
) -> None:
    out = tmp_path / "out"
    late = replace(result, timings_ms=Meanwhile(lambda: result.write(out, only=["csv"])))
    if overwrite:
        late.write(out, overwrite=True, only=["json"])
    else:
        with pytest.raises(OutputError, match="the output folder exists"):
            late.write(out, only=["json"])
    kept = "result.json" if overwrite else "segments.csv"
    assert [path.name for path in tmp_path.rglob("*")] == ["out", kept]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_came_meanwhile_and_is_no_result_is_put_back(
    result: ScarResult, tmp_path: Path, kind: str
) -> None:
    out = tmp_path / "out"
    result.write(out, only=["csv"])

    def come() -> None:
        if kind == "file":
            (out / "notes.txt").write_text("mine")
        else:
            (out / "result.json").mkdir()

    late = replace(result, timings_ms=Meanwhile(come))
    with pytest.raises(OutputError, match="no result of this program"):
        late.write(out, overwrite=True, only=["json"])
    came = "notes.txt" if kind == "file" else "result.json"
    there = ["out", f"out/{came}", "out/segments.csv"]
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == there


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127])
@pytest.mark.parametrize("again", [False, True])
def test_names_as_long_as_the_file_system_takes(tmp_path: Path, name: str, again: bool) -> None:
    out = tmp_path / name
    for text in ("first", "second")[: 1 + again]:
        with staging(out) as folder:
            (folder / "result.json").write_text(text)
            publish(folder, out, ["result.json"], overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (out / "result.json").read_text() == ("second" if again else "first")
