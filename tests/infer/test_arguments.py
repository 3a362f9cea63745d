"""Arguments that make no sense have a plain error, whatever they are."""

from __future__ import annotations

import gc
import traceback
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scarseg_infer import (
    LgeStack,
    ModelError,
    ScarResult,
    Segmenter,
    UsageError,
    list_series,
    read_ecg,
    read_study,
)
from scarseg_infer.demo import DEMO_STUDY
from scarseg_runtime.providers.cache_place import chosen_folder


@pytest.fixture(scope="module")
def stack() -> LgeStack:
    return read_study(DEMO_STUDY)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"gap_days": "3"}, "gap_days"),
    ({"gap_days": True}, "gap_days"),
    ({"gap_days": np.zeros(2)}, "gap_days"),
    ({"timeout_s": "5"}, "time limit"),
    ({"prefer": "psir"}, "prefer"),
    ({"prefer": None}, "prefer"),
    ({"cancel": lambda: False}, "is_set"),
    ({"progress": 5}, "progress"),
    ({"study": None}, "study"),
    ({"study": 5}, "study"),
    ({"study": b"study"}, "study"),
    ({"study": "a\0b"}, "study"),
    ({"ecg": 5}, "ECG"),
    ({"ecg": np.zeros((5000, 12))}, "ECG"),
    ({"series": 1.0}, "series"),
    ({"series": True}, "series"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG)
def test_run_refuses(segmenter: Segmenter, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        segmenter.run(**{"study": DEMO_STUDY, **wrong})


def test_a_stack_has_no_series(segmenter: Segmenter, stack: LgeStack) -> None:
    with pytest.raises(UsageError, match="no series"):
        segmenter.run(stack, series=1)


def test_numbers_of_numpy_are_numbers(segmenter: Segmenter, stack: LgeStack) -> None:
    result = segmenter.run(stack, gap_days=np.float32(3), timeout_s=np.int64(600))
    assert type(result.ecg.gap_days) is float and result.ecg.gap_days == 3.0


def test_whole_numbers_of_numpy_are_whole_numbers(tmp_path: Path, dicom_factory: Any) -> None:
    dicom_factory.write(tmp_path / "study", dicom_factory.series())
    whole: Any = np.int64(1)
    assert read_study(tmp_path / "study", whole).pixels.shape[0] == 6
    Segmenter.from_model(provider="cpu", threads=whole).warm_up(1, 32, 32)
    for wrong in (np.int64(0), np.float32(1), np.True_, True, "1"):
        with pytest.raises(UsageError, match="whole number"):
            Segmenter.from_model(provider="cpu", threads=wrong)


class Place:
    """A path of a library of its own."""

    def __init__(self, path: object) -> None:
        self.path = path

    def __fspath__(self) -> Any:
        return self.path


@pytest.mark.parametrize("cache", ["a\0b", "", None, 1, Place(b"a"), Place("a\0b"), Place("")])
def test_a_cache_is_a_folder(cache: Any) -> None:
    with pytest.raises(UsageError, match="cache is neither"):
        Segmenter.from_model(provider="cpu", cache=cache)


def test_a_cache_may_be_anything_like_a_path(tmp_path: Path) -> None:
    with Segmenter.from_model(provider="cpu", cache=Place(str(tmp_path / "mine"))) as segmenter:
        assert segmenter.model_use().provider == "cpu"
    assert chosen_folder(Place(str(tmp_path / "mine"))) == tmp_path / "mine"


@pytest.mark.parametrize("path", [None, 5, b"x", "a\0b"])
def test_paths_are_paths(stack: LgeStack, make_result: Any, path: Any) -> None:
    result: ScarResult = make_result(stack)
    for call in (read_study, list_series, read_ecg, result.write):
        with pytest.raises(UsageError, match="is not a path"):
            call(path)


@pytest.mark.parametrize("model", [5, b"x", "a\0b"])
def test_a_model_is_a_path(model: Any) -> None:
    """Said at once, in the background too."""
    for background in (False, True):
        with pytest.raises(UsageError, match="model is not a path"):
            Segmenter.from_model(model, background=background)


@pytest.mark.parametrize("call", [read_study, list_series])
def test_readers_know_what_to_prefer(call: Any) -> None:
    with pytest.raises(UsageError, match="PSIR, magnitude"):
        call(DEMO_STUDY, prefer="psir")


def failed(tmp_path: Path) -> Segmenter:
    segmenter = Segmenter.from_model(tmp_path / "nothing.onnx", background=True)
    with pytest.raises(ModelError):
        segmenter.warm_up()
    return segmenter


def test_a_failed_load_gives_a_new_error_each_time(tmp_path: Path) -> None:
    segmenter, errors, depths, alive = failed(tmp_path), [], [], []
    for _ in range(4):
        stack = read_study(DEMO_STUDY)
        alive.append(weakref.ref(stack.pixels))
        with pytest.raises(ModelError, match="does not exist") as caught:
            segmenter.run(stack)
        errors.append(caught.value)
        depths.append(len(traceback.extract_tb(caught.value.__traceback__)))
    assert len({id(error) for error in errors}) == 4
    assert len(set(map(str, errors))) == 1 and len(set(depths)) == 1
    del stack, caught
    errors.clear()
    gc.collect()
    assert [ref() for ref in alive] == [None] * 4


def test_nothing_is_read_for_a_segmenter_that_cannot_run(tmp_path: Path) -> None:
    no_study = tmp_path / "nothing"
    with pytest.raises(ModelError):
        failed(tmp_path).run(no_study)
    segmenter = Segmenter.from_model(provider="cpu")
    segmenter.close()
    with pytest.raises(UsageError, match="closed"):
        segmenter.run(no_study)


def test_a_run_that_has_begun_goes_on_when_the_segmenter_is_closed() -> None:
    segmenter = Segmenter.from_model(provider="cpu")
    result = segmenter.run(DEMO_STUDY, progress=lambda stage, done: segmenter.close())
    assert result.quantities.scar_ml > 1
