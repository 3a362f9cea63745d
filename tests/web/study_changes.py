"""Changes of the demonstration study in a folder: what scanners mix, and what is refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom


def _each(change: Callable[[pydicom.FileDataset, int], None]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for index, path in enumerate(sorted(folder.iterdir())):
            image = pydicom.dcmread(path)
            change(image, index)
            image.save_as(path)

    return make


def _reversed(folder: Path) -> None:
    for index, path in enumerate(sorted(folder.iterdir(), reverse=True)):
        path.rename(folder / f"z{index:03}.dcm")


@_each
def _turned(image: pydicom.FileDataset, _: int) -> None:
    """Rows and columns exchanged, and the columns counted from the other end."""
    pixels = image.pixel_array.T[::-1].copy()
    row, column = np.split(np.array(image.ImageOrientationPatient, float), 2)
    start = np.array(image.ImagePositionPatient, float)
    start += row * float(image.PixelSpacing[1]) * (image.Columns - 1)
    image.PixelData = pixels.tobytes()
    image.Rows, image.Columns = pixels.shape
    image.PixelSpacing = list(image.PixelSpacing)[::-1]
    image.ImagePositionPatient = [f"{value:.6f}" for value in start]
    image.ImageOrientationPatient = [f"{value:.6f}" for value in (*column, *-row)]


@_each
def _tilted(image: pydicom.FileDataset, index: int) -> None:
    """Two slices that lean a little about their rows, and two far too much."""
    lean = np.radians({1: 0.4, 3: 1.2, 5: 5.0, 6: 5.0}.get(index, 0.0))
    row, column = np.split(np.array(image.ImageOrientationPatient, float), 2)
    turned = np.cos(lean) * column + np.sin(lean) * np.cross(row, column)
    half = float(image.PixelSpacing[0]) * (image.Rows - 1) / 2
    start = np.array(image.ImagePositionPatient, float) + half * (column - turned)
    image.ImagePositionPatient = [f"{value:.9f}" for value in start]
    image.ImageOrientationPatient = [f"{value:.12f}" for value in (*row, *turned)]


@_each
def _unlike(image: pydicom.FileDataset, index: int) -> None:
    """One slice of zeros, one at an eighth of its signal."""
    if index in (3, 6):
        pixels = image.pixel_array // 8 if index == 3 else image.pixel_array * 0
        image.PixelData = pixels.astype(image.pixel_array.dtype).tobytes()


def _with_localiser(folder: Path) -> None:
    for index, path in enumerate(sorted(folder.iterdir())[:3]):
        image = pydicom.dcmread(path)
        image.SeriesDescription, image.ProtocolName = "localizer", ""
        image.SeriesInstanceUID += ".9"
        image.SOPInstanceUID += ".9"
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.save_as(folder / f"loc{index}.dcm")


def _missing_slice(folder: Path) -> None:
    sorted(folder.iterdir())[4].unlink()


@_each
def _no_spacing(image: pydicom.FileDataset, _: int) -> None:
    del image.PixelSpacing


@_each
def _two_patients(image: pydicom.FileDataset, index: int) -> None:
    image.PatientID = f"A{index % 2}"


@_each
def _perfusion(image: pydicom.FileDataset, _: int) -> None:
    image.SeriesDescription, image.ProtocolName, image.SequenceName = "stress perfusion", "", ""
    image.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    if "InversionTime" in image:
        del image.InversionTime


@_each
def _axial(image: pydicom.FileDataset, index: int) -> None:
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.ImagePositionPatient = [0, 0, 10 * index]


@_each
def _wrong_scale(image: pydicom.FileDataset, _: int) -> None:
    image.RescaleSlope, image.RescaleIntercept = "1e9", "0"


@_each
def _contradiction(image: pydicom.FileDataset, _: int) -> None:
    image.BitsStored, image.HighBit = 20, 19


@_each
def _bytes_turned(image: pydicom.FileDataset, _: int) -> None:
    image.PixelData = np.frombuffer(image.PixelData, "<u2").byteswap().tobytes()


@_each
def _wrong_rows(image: pydicom.FileDataset, _: int) -> None:
    image.Rows, image.Columns = 80, 320


@_each
def _odd_scales(image: pydicom.FileDataset, index: int) -> None:
    """One slice with a slope of its own, and one with padding in the heart."""
    image.RescaleSlope, image.RescaleIntercept = (1.5 if index == 4 else 1), 0
    if index == 2:
        image.add_new(0x00280120, "US", int(image.pixel_array.max()))


def _two_series(folder: Path) -> None:
    """Half of the slices in a second series, and the first series once more under another name."""
    for index, path in enumerate(sorted(folder.iterdir())):
        image = pydicom.dcmread(path)
        if index >= 6:
            image.SeriesInstanceUID += ".3"
            image.save_as(path)
            continue
        image.SeriesInstanceUID += ".9"
        image.SeriesNumber = 9
        image.SOPInstanceUID += ".9"
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.save_as(folder / f"z{index}.dcm")


def _exchanged(folder: Path) -> None:
    """Positions exchanged, the others from apex to base, and a picture repeated."""
    images = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    places = [image.ImagePositionPatient for image in images][::-1]
    places[3], places[5] = places[5], places[3]
    images[8].PixelData = images[1].PixelData
    for path, image, place in zip(sorted(folder.iterdir()), images, places, strict=True):
        image.ImagePositionPatient = place
        image.SliceThickness = 40
        image.save_as(path)


@_each
def squeezed(image: pydicom.FileDataset, _: int) -> None:
    """Every other column left out, and nothing said of it, and cut off by a window."""
    image.PixelData = np.minimum(image.pixel_array[:, ::2], 300).tobytes()
    image.Columns = 80


def _cut_short(folder: Path) -> None:
    path = sorted(folder.iterdir())[3]
    path.write_bytes(path.read_bytes()[:-5000])


def _nonsense(folder: Path) -> None:
    for path in folder.iterdir():
        path.write_bytes(struct.pack("<I", 7) * 100)


REFUSED: dict[str, Callable[[Path], None]] = {
    "no spacing": _no_spacing, "two patients": _two_patients, "perfusion": _perfusion,
    "axial": _axial, "wrong scale": _wrong_scale, "contradiction": _contradiction,
    "cut short": _cut_short, "nonsense": _nonsense, "bytes turned": _bytes_turned,
    "wrong rows": _wrong_rows,
}  # fmt: skip

MIXED: dict[str, Callable[[Path], None]] = {
    "reversed": _reversed, "turned": _turned,
    "with a localiser": _with_localiser, "missing slice": _missing_slice,
    "tilted": _tilted, "slices that do not fit": _unlike, "odd scales": _odd_scales,
    "two series": _two_series, "exchanged": _exchanged,
}  # fmt: skip
