"""Connected components against scipy's, and what the clean-up may and may not touch."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from scarseg_runtime.contract import Label
from scarseg_runtime.quantify.components import clean_labels, connected_components

masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=3, max_dims=3, max_side=7))
label_volumes = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=7), elements=st.integers(0, 4)
)


@settings(max_examples=300)
@given(masks)
def test_components_are_those_of_scipy(mask: np.ndarray) -> None:
    ours = connected_components(mask)
    theirs, count = ndimage.label(mask)
    assert len(ours.sizes) == count
    for number in range(count):
        voxels = ours.mask(np.arange(count) == number)
        assert voxels.sum() == ours.sizes[number]
        assert len(np.unique(theirs[voxels])) == 1
    assert np.array_equal(ours.mask(np.ones(count, bool)), mask)


@settings(max_examples=200)
@given(label_volumes, st.floats(0, 5))
def test_clean_up_leaves_one_ventricle_and_no_specks(labels: np.ndarray, least: float) -> None:
    cleaned = clean_labels(labels, least, voxel_ml=1.0)
    ventricle = np.isin(cleaned, (Label.LV_CAVITY, Label.VIABLE_MYOCARDIUM, Label.SCAR))
    assert ndimage.label(ventricle)[1] <= 1
    islands, count = ndimage.label(cleaned == Label.SCAR)
    if count:
        assert np.bincount(islands.ravel())[1:].min() >= least
    for plane in ventricle:
        assert np.array_equal(ndimage.binary_fill_holes(plane), plane)
    # Nothing is invented: the LV only loses islands and gains holes, scar only loses specks
    # and gains holes.
    changed = cleaned != labels
    became = set(zip(labels[changed].tolist(), cleaned[changed].tolist(), strict=True))
    inside = {(outer, inner) for outer in (0, 4) for inner in (1, 2, 3)}
    relabelled = {(1, 0), (2, 0), (3, 0), (3, 2), (0, 0)} | inside
    islands_in_holes = {(i, j) for i in (1, 2, 3) for j in (1, 2, 3)}
    assert became <= relabelled | islands_in_holes


def test_a_dark_core_in_scar_counts_as_scar() -> None:
    labels = np.zeros((3, 20, 20), np.uint8)
    labels[:, 3:17, 3:17] = Label.VIABLE_MYOCARDIUM
    labels[1, 5:12, 5:12] = Label.SCAR
    labels[1, 7:9, 7:9] = Label.BACKGROUND
    labels[2, 10, 10] = Label.RV_CAVITY
    cleaned = clean_labels(labels, 0.0, 1.0)
    assert (cleaned[1, 5:12, 5:12] == Label.SCAR).all()
    assert cleaned[2, 10, 10] == Label.VIABLE_MYOCARDIUM
    assert cleaned[0, 0, 0] == Label.BACKGROUND


def test_clean_up_is_idempotent_and_leaves_its_input_alone() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (6, 20, 20)).astype(np.uint8)
    before = labels.copy()
    once = clean_labels(labels, 3.0, 1.0)
    assert np.array_equal(labels, before)
    assert np.array_equal(clean_labels(once, 3.0, 1.0), once)


def test_an_island_is_measured_by_the_heights_of_its_own_slices() -> None:
    """Seven pixels of a slice of 17.6 mm are 0.316 mL, by the mean height of the stack 0.234."""
    labels = np.zeros((5, 20, 20), np.uint8)
    labels[:, 3:17, 3:17] = Label.VIABLE_MYOCARDIUM
    for index in (0, 2):
        labels[index, 5, 5:12] = Label.SCAR
    heights = np.array([8.8, 11.0, 17.6, 14.0, 13.6])
    cleaned = clean_labels(labels, 0.3, heights * 1.6**2 / 1000)
    assert [int((plane == Label.SCAR).sum()) for plane in cleaned] == [0, 0, 7, 0, 0]


def test_a_dark_core_that_was_called_viable_is_scar() -> None:
    labels = np.zeros((1, 20, 20), np.uint8)
    labels[0, 2:18, 2:18] = Label.VIABLE_MYOCARDIUM
    labels[0, 5:12, 5:12] = Label.SCAR
    labels[0, 7:10, 7:10] = Label.VIABLE_MYOCARDIUM
    cleaned = clean_labels(labels, 0.0, 1.0)
    assert (cleaned[0, 5:12, 5:12] == Label.SCAR).all()
    assert (cleaned == Label.SCAR).sum() == 49
