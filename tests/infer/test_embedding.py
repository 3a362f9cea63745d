"""The Segmenter inside somebody else's program: progress, cancellation, threads, no traces."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from scarseg_infer import (
    CancelledError,
    LgeStack,
    RunTimeoutError,
    ScarResult,
    Segmenter,
    StudyError,
    UsageError,
    read_study,
    stack_from_arrays,
)
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY
from scarseg_infer.host.quiet import loud_host, quiet_readers
from scarseg_infer.host.stages import Stage
from scarseg_infer.write.folder import NAMES
from scarseg_runtime.model import Model


def test_progress_goes_through_all_stages_and_never_back(segmenter: Segmenter) -> None:
    told: list[tuple[Stage, float]] = []
    segmenter.run(DEMO_STUDY, DEMO_ECG, progress=lambda stage, done: told.append((stage, done)))
    shares = [done for _, done in told]
    assert shares == sorted(shares)
    assert shares[0] == 0.0 and shares[-1] == 1.0 and shares.count(1.0) == 1
    assert list(dict.fromkeys(stage for stage, _ in told)) == list(get_args(Stage))
    reading = [done for stage, done in told if stage == "read_study"]
    assert len(set(reading)) > 10  # file by file


def test_what_the_progress_callback_raises_comes_out(
    segmenter: Segmenter, demo: ScarResult
) -> None:
    def broken(stage: Stage, done: float) -> None:
        if stage == "network":
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        segmenter.run(DEMO_STUDY, DEMO_ECG, progress=broken)
    assert np.array_equal(segmenter.run(demo.stack, DEMO_ECG).labels, demo.labels)


@pytest.mark.parametrize("last", get_args(Stage))
def test_a_run_can_be_cancelled_in_every_stage(segmenter: Segmenter, last: Stage) -> None:
    stop, stages = threading.Event(), []

    def cancel_there(stage: Stage, done: float) -> None:
        stages.append(stage)
        if stage == last:
            stop.set()

    with pytest.raises(CancelledError) as caught:
        segmenter.run(DEMO_STUDY, progress=cancel_there, cancel=stop)
    assert not isinstance(caught.value, TimeoutError)
    assert stages.count(last) == 1 and stages[-1] == last


@pytest.mark.serial
@pytest.mark.parametrize("provider", ["cpu", "openvino"])
def test_the_network_itself_is_stopped(provider: str, make_stack: Callable[..., LgeStack]) -> None:
    large = make_stack(30, (512, 480))  # more than a second on one core
    with Segmenter.from_model(provider=provider, threads=1) as segmenter:
        segmenter.run(large)
        start = time.process_time()  # of this process alone: what else runs does not count
        whole = segmenter.run(large)
        whole_s = time.process_time() - start
        stop = threading.Event()

        def cancel_soon(stage: Stage, done: float) -> None:
            if stage == "network":
                threading.Timer(0.02, stop.set).start()

        start = time.process_time()
        with pytest.raises(CancelledError):
            segmenter.run(large, progress=cancel_soon, cancel=stop)
        assert time.process_time() - start < whole_s / 2
        with pytest.raises(RunTimeoutError):
            segmenter.run(large, timeout_s=0.1)
        assert np.array_equal(segmenter.run(large, timeout_s=600).labels, whole.labels)


class BrokenSignal:
    """A host's cancel signal that fails once, when it is asked within the network."""

    def __init__(self, error: BaseException) -> None:
        self.error: BaseException | None = error
        self.asked_in_network = 0
        self.in_network = False

    def watch(self, stage: Stage, done: float) -> None:
        self.in_network = stage == "network"

    def is_set(self) -> bool:
        self.asked_in_network += self.in_network
        # Not at once: the first question comes before the provider has begun.
        if self.error is not None and self.asked_in_network > 1:
            error, self.error = self.error, None
            raise error
        return False


@pytest.mark.parametrize("provider", ["cpu", "openvino"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("the host's"), SystemExit(3)])
def test_what_the_cancel_signal_raises_comes_out_and_the_next_run_is_sound(
    provider: str, error: BaseException, make_stack: Callable[..., LgeStack],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    stack = make_stack(12, (320, 320))
    with Segmenter.from_model(provider=provider, threads=1) as segmenter:
        whole = segmenter.run(stack)
        signal = BrokenSignal(error)
        with pytest.raises(type(error)) as caught:
            segmenter.run(stack, cancel=signal, progress=signal.watch)
        assert caught.value is error
        for cancel in (None, threading.Event()):
            assert np.array_equal(segmenter.run(stack, cancel=cancel).labels, whole.labels)
    assert capsys.readouterr().err == ""  # no traceback of a thread


def test_a_time_limit_covers_waiting_for_the_model() -> None:
    never: Future[Model] = Future()
    segmenter = Segmenter(never)
    with pytest.raises(TimeoutError, match="time limit"):
        segmenter.run(DEMO_STUDY, DEMO_ECG, timeout_s=0.5)
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    with pytest.raises(CancelledError):
        segmenter.run(DEMO_STUDY, DEMO_ECG, cancel=stop)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("inf")])
def test_a_time_limit_must_be_a_time(segmenter: Segmenter, limit: float) -> None:
    with pytest.raises(UsageError, match="time limit"):
        segmenter.run(DEMO_STUDY, timeout_s=limit)


@pytest.mark.parametrize("threads", [0, -1, "2", 2.0, True, 10**6])
@pytest.mark.parametrize("provider", ["cpu", "no such provider"])
def test_a_number_of_threads_must_be_one(threads: Any, provider: str) -> None:
    with pytest.raises(UsageError, match="threads"):
        Segmenter.from_model(provider=provider, threads=threads)


@pytest.mark.parametrize(
    "size", [(0, 128, 128), (2, -1, 128), (2, 128, 1.5), ("2", 8, 8), (2**20, 2**20, 2**20)]
)
def test_a_size_to_warm_up_for_must_be_one(segmenter: Segmenter, size: Any) -> None:
    with pytest.raises(UsageError, match="size"):
        segmenter.warm_up(*size)


FORKED = """
import os, sys
from scarseg_infer import Segmenter, UsageError
segmenter = Segmenter.from_model(provider=sys.argv[1], background=sys.argv[2] == "background")
if not (child := os.fork()):
    try:
        segmenter.warm_up(1, 64, 64)
    except UsageError as error:
        os._exit(7 if "each process" in str(error) else 8)
    os._exit(9)
segmenter.warm_up(1, 64, 64)  # here it goes on as if nothing had been
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("how", ["loaded", "background"])
@pytest.mark.parametrize("provider", ["cpu", "openvino"])
def test_a_segmenter_says_that_it_is_of_another_process(provider: str, how: str) -> None:
    child = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED, provider, how],
        check=False, timeout=100,
    )  # fmt: skip
    assert child.returncode == 7


UNWRITABLE = """
import sys
from scarseg_infer import Segmenter
with Segmenter.from_model(provider="openvino", threads=1, cache=sys.argv[1]) as segmenter:
    segmenter.warm_up(1, 64, 64)
"""


def test_the_runtime_logs_to_nobody_who_did_not_ask(tmp_path: Path) -> None:
    """Python itself prints warnings on stderr where nobody handles them."""
    (tmp_path / "file").touch()
    command = [sys.executable, "-c", UNWRITABLE, str(tmp_path / "file" / "cache")]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("", "")
    command[2] = "import logging; logging.basicConfig()\n" + UNWRITABLE
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "engine cache cannot be written" in run.stderr


def test_a_closed_segmenter_says_so() -> None:
    with Segmenter.from_model(background=True) as segmenter:
        pass
    for call in (segmenter.warm_up, lambda: segmenter.run(DEMO_STUDY)):
        with pytest.raises(UsageError, match="closed"):
            call()
    segmenter.close()


def test_threads_read_and_run_side_by_side(segmenter: Segmenter, demo: ScarResult) -> None:
    pydicom_logger = logging.getLogger("pydicom")
    level, filters = pydicom_logger.level, list(warnings.filters)

    def one(_: int) -> ScarResult:
        return segmenter.run(DEMO_STUDY, DEMO_ECG)

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(one, range(12)))
    for result in results:
        assert np.array_equal(result.labels, demo.labels)
        assert result.warnings == demo.warnings
        assert result.quantities == demo.quantities
    assert pydicom_logger.level == level
    assert list(warnings.filters) == filters


def test_only_readers_are_silenced() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with quiet_readers() as outer, quiet_readers() as inner:
            warnings.warn("from a reader", stacklevel=1)
            other = threading.Thread(target=warnings.warn, args=("from the host",))
            other.start()
            other.join()
        warnings.warn("afterwards", stacklevel=1)
    assert [str(found.message) for found in caught] == ["from the host", "afterwards"]
    assert inner == ["from a reader"] and outer == inner


def test_readers_are_silent_where_warnings_are_errors() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with quiet_readers():
            warnings.warn("from a reader", stacklevel=1)
        with pytest.raises(UserWarning):
            warnings.warn("from the host", stacklevel=1)


def test_loggers_of_the_libraries_stay_the_hosts(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("pydicom")
    before, filters = logger.level, list(logger.filters)
    logger.setLevel(logging.INFO)
    try:
        with quiet_readers():
            assert logger.level == logging.INFO
            logger.error("from a reader")
            logging.getLogger("nibabel.global").error("from a reader")
            logging.getLogger("pydicom.pixels.utils").error("from a reader")
            other = threading.Thread(target=logger.error, args=("from the host",))
            other.start()
            other.join()
            with loud_host():
                logger.error("from its callback")
            logger.setLevel(logging.DEBUG)
        logger.error("afterwards")
        assert logger.level == logging.DEBUG
        assert list(logger.filters) == filters
    finally:
        logger.setLevel(before)
    assert caplog.messages == ["from the host", "from its callback", "afterwards"]


def test_a_callback_is_heard(segmenter: Segmenter) -> None:
    calls = []

    def progress(stage: Stage, done: float) -> None:
        calls.append(stage)
        warnings.warn(f"host: {stage}", stacklevel=1)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        segmenter.run(DEMO_STUDY, progress=progress)
    heard = [str(found.message) for found in caught if str(found.message).startswith("host")]
    assert heard == [f"host: {stage}" for stage in calls]


def test_what_a_callback_does_to_filters_does_not_make_readers_talk() -> None:
    with warnings.catch_warnings():
        with quiet_readers() as heard:
            with loud_host():
                warnings.simplefilter("error")
                with pytest.raises(UserWarning):
                    warnings.warn("from its callback", stacklevel=1)
            warnings.warn("from a reader", stacklevel=1)
        assert heard == ["from a reader"]
        with pytest.raises(UserWarning):
            warnings.warn("afterwards", stacklevel=1)


@pytest.mark.parametrize("provider", ["cpu", "openvino"])
def test_a_host_program_is_left_as_it_was(provider: str) -> None:
    script = Path(__file__).with_name("embedding_host.py")
    run = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", str(script), provider],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stderr == ""
    (line,) = run.stdout.splitlines()
    assert json.loads(line) == {"changed": {}, "sound": True, "unasked": []}


def test_threads_may_all_start_at_once(tmp_path: Path) -> None:
    script = Path(__file__).with_name("embedding_threads.py")
    run = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=True
    )
    counts, tables = json.loads(run.stdout)
    assert set(counts) == {len(NAMES)} and tables == 1


@pytest.mark.parametrize("package", ["scarseg_infer", "scarseg_runtime"])
def test_type_checkers_are_told_that_the_packages_are_typed(package: str) -> None:
    assert files(package).joinpath("py.typed").is_file()


def described(stack: LgeStack) -> dict[str, Any]:
    """Facts that a host would know of a stack."""
    return {
        "pixels": stack.pixels.copy(),
        "pixel_spacing_mm": list(stack.pixel_spacing_mm),
        "image_positions_mm": stack.origins_mm.tolist(),
        "image_orientation": [*stack.row_direction, *stack.column_direction],
        "acquired": stack.acquired,
        "image_kind": stack.image_kind,
    }


def test_arrays_give_what_the_file_gives(segmenter: Segmenter, demo: ScarResult) -> None:
    given = described(demo.stack)
    stack = stack_from_arrays(**given)
    given["pixels"][:] = 0  # the host may use its buffer again
    result = segmenter.run(stack, DEMO_ECG)
    assert np.array_equal(result.labels, demo.labels)
    assert result.quantities.scar_ml == pytest.approx(demo.quantities.scar_ml)
    assert result.ecg.gap_days == demo.ecg.gap_days
    assert result.labels.shape == given["pixels"].shape


WRONG: dict[str, dict[str, Callable[[Any], Any]]] = {
    "are not a finite": {
        "pixels": lambda pixels: np.where(pixels > 100, np.nan, pixels),
    },
    "finite array": {"pixels": lambda pixels: pixels[0]},
    "not an array of numbers": {"pixels": lambda pixels: pixels > 100},
    "no such kind": {"image_kind": lambda kind: "banana"},
    "one place": {"image_positions_mm": lambda places: places[1:]},
    "for each slice": {"image_positions_mm": lambda places: [[np.nan] * 3, *places[1:]]},
    "pixel spacing": {"pixel_spacing_mm": lambda spacing: [0.0, 1.0]},
    "two plausible": {"pixel_spacing_mm": lambda spacing: [1.0]},
    "orthogonal": {"image_orientation": lambda axes: [1, 0, 0, 1, 0, 0]},
    "unit vectors": {"image_orientation": lambda axes: axes[:5]},
    "tilted": {"image_orientation": lambda axes: [1, 0, 0, 0, 1, 0]},
    "Reverse their order": {"image_positions_mm": lambda places: places[::-1]},
    "do not follow": {"image_positions_mm": lambda places: [places[0]] * len(places)},
}


@pytest.mark.parametrize("message", WRONG)
def test_arrays_that_are_no_stack_are_refused(demo: ScarResult, message: str) -> None:
    given = described(demo.stack)
    for name, change in WRONG[message].items():
        given[name] = change(given[name])
    with pytest.raises(StudyError, match=message):
        stack_from_arrays(**given)


def test_a_single_slice_needs_its_thickness(demo: ScarResult) -> None:
    given = described(demo.stack)
    given["pixels"], given["image_positions_mm"] = (
        given["pixels"][:1], given["image_positions_mm"][:1],
    )  # fmt: skip
    with pytest.raises(StudyError, match="thickness"):
        stack_from_arrays(**given)
    assert stack_from_arrays(**given, slice_thickness_mm=8.0).pixels.shape[0] == 1


def test_reading_tells_how_far_it_is() -> None:
    told: list[float] = []
    read_study(DEMO_STUDY, watch=told.append)
    assert told == sorted(told) and told[0] > 0 and told[-1] <= 1

    class EndError(Exception):
        pass

    def stop(share: float) -> None:
        raise EndError

    with pytest.raises(EndError):
        read_study(DEMO_STUDY, watch=stop)
