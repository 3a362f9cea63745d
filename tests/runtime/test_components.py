"""Connected components against scipy's, and what the clean-up may and may not touch."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from scarseg_runtime.components import clean_labels, connected_components
from scarseg_runtime.contract import Label

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
    # Nothing is invented: changes are LV → background and scar → viable myocardium only.
    changed = cleaned != labels
    became = set(zip(labels[changed].tolist(), cleaned[changed].tolist(), strict=True))
    assert became <= {(1, 0), (2, 0), (3, 0), (3, 2)}


def test_clean_up_is_idempotent_and_leaves_its_input_alone() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (6, 20, 20)).astype(np.uint8)
    before = labels.copy()
    once = clean_labels(labels, 3.0, 1.0)
    assert np.array_equal(labels, before)
    assert np.array_equal(clean_labels(once, 3.0, 1.0), once)
