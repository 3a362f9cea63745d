"""Images that the product hands out for training lie where its own lie."""

from __future__ import annotations

from importlib.metadata import entry_points
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY
from scarseg_infer.patient import PatientReader, _grid
from scarseg_infer.study.geometry.orientation import DisplayTransform
from scarseg_infer.study.read import read_study
from scarseg_runtime.errors import EcgError, StudyError


@pytest.mark.parametrize("turns", [*product((False, True), repeat=4)])
def test_every_voxel_stays_where_it_is_in_the_body(turns: tuple[bool, ...]) -> None:
    """Whatever way a stack is displayed, a voxel's value is found at its own place."""
    stack = read_study(DEMO_STUDY)
    grid = _grid(stack, DisplayTransform(*turns))
    rng = np.random.default_rng(0)
    for _ in range(20):
        s, r, c = (int(rng.integers(n)) for n in grid.values.shape)
        place = grid.origins_mm[s] + r * grid.rows_mm + c * grid.columns_mm
        slice_ = int(np.abs((stack.origins_mm - place) @ stack.normal).argmin())
        offset = place - stack.origins_mm[slice_]
        row = offset @ stack.column_direction / stack.pixel_spacing_mm[0]
        column = offset @ stack.row_direction / stack.pixel_spacing_mm[1]
        assert abs(offset @ stack.normal) < 1e-6
        assert grid.values[s, r, c] == stack.pixels[slice_, round(row), round(column)]


def test_a_patient_is_read_as_it_is_served() -> None:
    view = PatientReader().read(DEMO_STUDY, DEMO_ECG, None)
    assert view.grid.placed
    assert view.beat_mv is not None
    assert view.beat_mv.shape == (12, 512)
    assert view.decision.valid
    assert view.gap_source in ("dates", "timestamps")
    assert len(view.instance_uids) == len(view.grid.values)
    assert "TWIN" not in repr(view.patient_key).upper()
    series = PatientReader().read(DEMO_STUDY, None, None, "1")
    assert np.array_equal(series.grid.values, view.grid.values)
    assert not series.decision.valid


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(StudyError):
        PatientReader().read(tmp_path / "nowhere", None, None)
    with pytest.raises(EcgError):
        PatientReader().read(DEMO_STUDY, tmp_path / "nowhere", None)


def test_a_digest_goes_by_content_and_not_by_place(tmp_path: Path) -> None:
    import shutil

    shutil.copytree(DEMO_STUDY, tmp_path / "copy")
    reader = PatientReader()
    before = reader.digest(DEMO_STUDY, DEMO_ECG, "x")
    assert reader.digest(tmp_path / "copy", DEMO_ECG, "x") == before
    assert reader.digest(DEMO_STUDY, DEMO_ECG, "y") != before
    assert reader.digest(DEMO_STUDY, None, "x") != before
    next((tmp_path / "copy").iterdir()).write_bytes(b"changed")
    assert reader.digest(tmp_path / "copy", DEMO_ECG, "x") != before


def test_the_installed_package_offers_the_reader() -> None:
    found = {point.value for point in entry_points(group="scarseg.patient_reader")}
    assert found == {"scarseg_infer.patient:PatientReader"}
