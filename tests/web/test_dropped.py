"""Damaged files that are dropped: what the page reads is what Python reads, or it refuses them."""

from __future__ import annotations

import gzip
import importlib.util
import random
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataelem import DataElement

from scarseg_infer import read_study
from scarseg_runtime.errors import ScarsegError

pytestmark = pytest.mark.slow
ReadCore = Callable[[Sequence[list[tuple[str, Path]]]], list[Any]]
STUDIES = 240


@pytest.fixture(scope="module")
def stack(dicom_factory: ModuleType) -> list[bytes]:
    """Five slices as DICOM files."""
    return [dicom_factory.encoded(one) for one in _slices(dicom_factory)]


def _slices(dicom_factory: ModuleType) -> list[Any]:
    return list(dicom_factory.series(dicom_factory.noise(5, 12, 10)))


def written(folder: Path, files: Sequence[bytes]) -> list[tuple[str, Path]]:
    folder.mkdir()
    found = []
    for number, data in enumerate(files):
        path = folder / f"{number}.dcm"
        path.write_bytes(data)
        found.append((path.name, path))
    return found


def test_a_changed_byte_in_an_archive_is_noticed(
    read_core: ReadCore, stack: list[bytes], tmp_path: Path
) -> None:
    """Stored without compression nothing but the archive's sums tells of it."""
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        file.mkdir("study")
        for number, data in enumerate(stack):
            file.writestr(f"study/{number}", data)
    volume = np.random.default_rng(1).integers(0, 900, (12, 10, 5)).astype(np.int16)
    image = nibabel.Nifti1Image(volume, np.diag([1.5, 1.5, 9.0, 1.0]))
    image.header.set_xyzt_units("mm")
    nifti = tmp_path / "lge.nii.gz"
    nifti.write_bytes(gzip.compress(image.to_bytes(), 0))
    drops = []
    for path, at in ((archive, archive.read_bytes().find(stack[2]) + len(stack[2]) - 20),
                     (nifti, 700)):  # fmt: skip
        data = bytearray(path.read_bytes())
        data[at] ^= 1
        spoilt = tmp_path / f"spoilt {path.name}"
        spoilt.write_bytes(data)
        drops += [[(path.name, path)], [(path.name, spoilt)]]
    whole_zip, spoilt_zip, whole_nifti, spoilt_nifti = read_core(drops)
    assert whole_zip.shape == (5, 12, 10) and whole_nifti.size == volume.size
    assert "zip archive is damaged" in spoilt_zip
    assert "NIfTI file is damaged" in spoilt_nifti


def test_pixels_of_another_kind_or_length(
    read_core: ReadCore, dicom_factory: ModuleType, tmp_path: Path
) -> None:
    """A sequence in place of the pixels, and pixels of two frames where one is said to be."""
    drops = []
    for way in ("as they are", "sequence", "two frames"):
        slices = _slices(dicom_factory)
        if way == "sequence":
            item = Dataset()
            item.add(slices[1]["PixelData"])
            slices[1].add(DataElement(0x7FE00010, "SQ", [item]))
        elif way == "two frames":
            slices[1].PixelData *= 2
        drops.append(written(tmp_path / way, [dicom_factory.encoded(one) for one in slices]))
    plain, *odd = read_core(drops)
    assert plain.shape == (5, 12, 10)
    assert all("file 2 of 5 in name order is a damaged DICOM file" in why for why in odd)


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, of what the mutations write
def test_mutated_studies(
    read_core: ReadCore, stack: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate = _mutations(monkeypatch)
    folders = []
    for number in range(STUDIES):
        chance = random.Random(number)
        files = list(stack)
        for place in range(5) if chance.random() < 0.3 else [number % 5]:
            files[place] = mutate(files[place], 1 << 20, number, lambda data, _: data[:-300])
        folders.append(tmp_path / f"{number}")
        written(folders[-1], files)
    drops = [[(path.name, path) for path in sorted(one.iterdir())] for one in folders]
    both = 0
    for number, found in enumerate(read_core(drops)):  # which fails on any error but ours
        try:
            expected = read_study(folders[number])
        except ScarsegError:
            continue
        if isinstance(found, str):
            continue
        both += 1
        assert np.array_equal(found, expected.pixels), number
    assert both > STUDIES // 8


def _mutations(monkeypatch: pytest.MonkeyPatch) -> Callable[..., bytes]:
    """The mutations of the fuzzer, which keep a DICOM file a DICOM file."""
    path = Path(__file__).parents[1] / "fuzz" / "dicom_mutate.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)
    spec.loader.exec_module(module)
    mutate: Callable[..., bytes] = module.mutate
    return mutate
