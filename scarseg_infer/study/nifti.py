"""NIfTI file → LGE stack. The file's frame (RAS) is turned into the patient frame of DICOM (LPS).

NIfTI has no patient, no date, and often no true orientation: what cannot be trusted is said.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scarseg_infer.host.quiet import quiet_readers
from scarseg_infer.study.geometry.orientation import SHORT_AXIS_TRUST_DEG, short_axis_tilt_deg
from scarseg_infer.study.geometry.slice_plane import (
    MAX_COORDINATE_MM,
    MAX_SLICE_HEIGHT_MM,
    MIN_SLICE_HEIGHT_MM,
    SAME_POSITION_MM,
    plausible_spacing,
    unit_axes,
)
from scarseg_infer.study.nifti_axes import (
    AFFINE_TOLERANCE,
    COARSEST_TOLERANCE,
    FORM_TOLERANCE_MM,
    forms_apart_mm,
    slices_last,
)
from scarseg_infer.study.pixel_order import in_other_byte_order
from scarseg_infer.study.rescale import rescaled
from scarseg_infer.study.size import check_size
from scarseg_infer.study.stack import LgeStack
from scarseg_runtime.errors import StudyError

MAX_NIFTI_BYTES: Final = 512 * 2**20
"""Expanded size beyond which a file is no LGE stack (30 slices of 512² doubles: 63 MB)."""
MIN_STEP_COSINE: Final = 0.5
"""Slices whose step leans more than 60° from their normal make no stack."""

_UNKNOWN: Final = (
    "The NIfTI file does not say how the heart lies: AHA segments follow from the right ventricle "
    "that is found, and lie on the wrong walls if the image is stored mirrored."
)
_INVERTED: Final = (
    "scl_slope of the NIfTI file is negative, so that what is stored as bright is read as dark: "
    "check in the pictures that scar is bright."
)
_LEAST_OFFSET: Final = {False: 352, True: 544}
"""First offset at which voxels may begin: behind the header of NIfTI-1 and -2 and the four bytes
after it."""
_GZIP_MAGIC: Final = b"\x1f\x8b"
_UNIT_MM: Final = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # NIfTI: unknown (mm by habit), m, mm, µm
_SPACE_UNIT_MASK: Final = 0x07  # the low bits of xyzt_units; the others are the unit of time
_RAS_TO_LPS: Final = np.array([-1.0, -1.0, 1.0])
_EXPORT_AGAIN: Final = "Export or copy it again"


@dataclass(frozen=True, slots=True)
class _Grid:
    """Voxel grid in LPS millimetres; array axes i, j, k become columns, rows, slices."""

    first_mm: NDArray[np.float64]
    row_direction: NDArray[np.float64]
    column_direction: NDArray[np.float64]
    slice_step_mm: NDArray[np.float64]
    orientation_known: bool
    warnings: tuple[str, ...]


def read_nifti(path: Path) -> LgeStack:
    """Read a NIfTI-1 or -2 file (.nii, .nii.gz) as an LGE stack.

    Array ``[x, y, z]`` becomes pixels ``[z, y, x]``, slices reversed where the file's are in
    decreasing order along row × column direction; where the slices lie along another axis than
    the third, it takes the third's place. Where affine and pixdim disagree on the voxel size,
    pixdim is used. ``orientation_known`` is False where they do, where sform and qform disagree, or
    where the affine is not that of a short-axis view.

    Raises:
        StudyError: unreadable or damaged, not one grey-scale volume, or voxel sizes that
            cannot be those of a short-axis stack.
    """
    with quiet_readers():
        image, pixdim = _open(_read_bytes(path))
        unit_mm = _unit_mm(image)
        stored_mm = tuple(float(size) * unit_mm for size in pixdim)
        lps = _RAS_TO_LPS[:, None] * np.asarray(image.affine, dtype=np.float64)[:3] * unit_mm
        order = slices_last(stored_mm, lps)
        spacing_mm = tuple(stored_mm[axis] for axis in order)
        shape = [int(image.shape[axis]) for axis in order]
        _check_spacing(spacing_mm, shape[2])
        check_size(shape[2], shape[1], shape[0], "Pass one LGE short-axis stack")
        apart_mm = forms_apart_mm(image, stored_mm, unit_mm)
        pixels = np.ascontiguousarray(_voxels(image).transpose(order[::-1]))
        grid = _grid(lps[:, [*order, 3]], np.array(spacing_mm), apart_mm or 0.0)
    origins = grid.first_mm + np.arange(len(pixels))[:, None] * grid.slice_step_mm
    if np.cross(grid.row_direction, grid.column_direction) @ grid.slice_step_mm < 0:
        pixels, origins = pixels[::-1].copy(), origins[::-1].copy()
    slope = float(image.dataobj.slope)
    inverted = (_INVERTED,) if slope < 0.0 else ()
    single = ("The study has a single slice: its height is the voxel depth.",)
    return LgeStack(
        pixels=pixels,
        pixel_spacing_mm=(spacing_mm[1], spacing_mm[0]),
        origins_mm=origins,
        row_direction=grid.row_direction,
        column_direction=grid.column_direction,
        slice_thickness_mm=spacing_mm[2],
        source="nifti",
        orientation_known=grid.orientation_known,
        warnings=grid.warnings + inverted + (single if len(pixels) == 1 else ()),
    )


def _read_bytes(path: Path) -> bytes:
    """Content of the file, unpacked when it is gzip whatever its name says."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            if packed:
                with gzip.GzipFile(fileobj=file) as unpacked:
                    data = unpacked.read(MAX_NIFTI_BYTES + 1)
            else:
                data = file.read(MAX_NIFTI_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise StudyError("the NIfTI file is damaged or cut short", _EXPORT_AGAIN) from error
    except OSError as error:
        raise StudyError(
            f"the NIfTI file cannot be read ({error.strerror})", "Check that you may read it"
        ) from error
    if len(data) > MAX_NIFTI_BYTES:
        raise StudyError(
            f"the NIfTI file expands to more than {MAX_NIFTI_BYTES // 2**20} MB",
            "Pass one LGE short-axis stack",
        )
    return data


def _open(data: bytes) -> tuple[Any, NDArray[np.float64]]:
    """The image, and pixdim 1 to 3 as written (nibabel mends bad ones in silence)."""
    from nibabel import Nifti1Image, Nifti2Image
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError, HeaderTypeError
    from nibabel.wrapstruct import WrapStructError

    # NIfTI-2 headers begin with their size, 540, in either byte order.
    version_2 = 540 in (int.from_bytes(data[:4], "little"), int.from_bytes(data[:4], "big"))
    kind: Any = Nifti2Image if version_2 else Nifti1Image
    try:
        raw = kind.header_class.from_fileobj(BytesIO(data), check=False)
        image = kind.from_bytes(data)
        pixdim = np.asarray(raw["pixdim"][1:4], dtype=np.float64)
    except (
        ImageFileError,
        HeaderDataError,
        HeaderTypeError,
        WrapStructError,
        struct.error,
        EOFError,
        OSError,
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        AttributeError,
        RuntimeError,  # of a DICOM header inside, which early nibabel parses
        MemoryError,
    ) as error:
        raise StudyError("the file is not NIfTI, or damaged", _EXPORT_AGAIN) from error
    _check_volume(image, len(data), _LEAST_OFFSET[version_2])
    return image, pixdim


def _check_volume(image: Any, available_bytes: int, least_offset: int) -> None:
    """Raise StudyError unless the header describes one grey-scale volume that is all there."""
    shape, dtype = tuple(int(n) for n in image.shape), image.get_data_dtype()
    if dtype.kind not in "iuf":
        raise StudyError("the NIfTI file holds colours or complex numbers", "Pass grey-scale LGE")
    if len(shape) < 3 or any(n != 1 for n in shape[3:]) or min(shape) < 1:
        size = " × ".join(map(str, shape))
        raise StudyError(f"the NIfTI file is not one volume ({size})", "Pass one 3-D LGE volume")
    if int(image.dataobj.offset) < least_offset:
        raise StudyError("the voxels of the NIfTI file begin inside its header", _EXPORT_AGAIN)
    if int(image.dataobj.offset) + math.prod(shape) * dtype.itemsize > available_bytes:
        raise StudyError("the NIfTI file is cut short", _EXPORT_AGAIN)


def _voxels(image: Any) -> NDArray[np.float32]:
    """[x, y, z] after the file's scaling."""
    try:
        stored: NDArray[Any] = image.dataobj.get_unscaled()
        if stored.dtype.kind in "iu" and in_other_byte_order(stored.T):
            raise StudyError(
                "the voxels of the NIfTI file have their bytes in another order than its header "
                "says",
                _EXPORT_AGAIN,
            )
        slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
        voxels = rescaled(stored.reshape(stored.shape[:3]), slope, intercept)
    except StudyError:
        raise
    except (OSError, ValueError, TypeError, ArithmeticError, MemoryError) as error:
        raise StudyError("the voxels of the NIfTI file cannot be read", _EXPORT_AGAIN) from error
    if voxels is None:
        raise StudyError("the NIfTI file has voxels that are not finite numbers", _EXPORT_AGAIN)
    return voxels


def _unit_mm(image: Any) -> float:
    code = int(image.header["xyzt_units"]) & _SPACE_UNIT_MASK
    if code not in _UNIT_MM:
        raise StudyError("the NIfTI file has an unknown unit of length", _EXPORT_AGAIN)
    return _UNIT_MM[code]


def _check_spacing(spacing_mm: tuple[float, ...], slices: int) -> None:
    size = " × ".join(f"{value:.3g}" for value in spacing_mm)
    if not all(math.isfinite(value) and value > 0 for value in spacing_mm):
        raise StudyError(f"the NIfTI file has impossible voxel sizes ({size} mm)", _EXPORT_AGAIN)
    thin = SAME_POSITION_MM if slices > 1 else MIN_SLICE_HEIGHT_MM
    thick = MAX_SLICE_HEIGHT_MM
    *fine, coarsest = sorted(spacing_mm)
    if not plausible_spacing(fine) or not thin <= coarsest <= thick or spacing_mm[2] < thin:
        raise StudyError(
            f"the NIfTI file has voxels of {size} mm, which cannot be those of a heart image",
            "Check the unit of length in its header",
        )
    if spacing_mm[2] < COARSEST_TOLERANCE * coarsest:
        raise StudyError(
            f"the NIfTI file has voxels of {size} mm: its slices do not lie along the third axis",
            "Reorder its axes, or pass the DICOM study",
        )


def _grid(lps: NDArray[np.float64], spacing_mm: NDArray[np.float64], apart_mm: float) -> _Grid:
    """The grid that affine and pixdim together describe; pixdim decides on sizes.

    Args:
        lps: [3, 4] array index → mm.
        apart_mm: how far the file's two affines are apart.
    """
    lengths = np.linalg.norm(lps[:, :3], axis=0)
    # Not a number compares false, so it is not usable either.
    usable = bool((np.abs(lps) <= MAX_COORDINATE_MM).all() and (lengths > 0).all())
    axes = unit_axes(lps[:, 0] / lengths[0], lps[:, 1] / lengths[1]) if usable else None
    if axes is None:
        # An affine that is none: array axes along the body's, as in an identity matrix.
        return _Grid(
            first_mm=np.zeros(3),
            row_direction=np.array([-1.0, 0.0, 0.0]),
            column_direction=np.array([0.0, -1.0, 0.0]),
            slice_step_mm=np.array([0.0, 0.0, spacing_mm[2]]),
            orientation_known=False,
            warnings=("The affine of the NIfTI file is unusable: pixdim is used.", _UNKNOWN),
        )
    normal = np.cross(*axes)
    step = lps[:, 2] / lengths[2] * spacing_mm[2]
    if abs(float(step @ normal)) < MIN_STEP_COSINE * spacing_mm[2]:
        raise StudyError(
            "the slices of the NIfTI file do not lie on top of each other (sheared affine)",
            "Pass the DICOM study",
        )
    warnings = _contradictions(lengths, spacing_mm, apart_mm)
    known = short_axis_tilt_deg(normal) <= SHORT_AXIS_TRUST_DEG and not warnings
    return _Grid(lps[:, 3], *axes, step, known, warnings + (() if known else (_UNKNOWN,)))


def _contradictions(
    lengths_mm: NDArray[np.float64], spacing_mm: NDArray[np.float64], apart_mm: float
) -> tuple[str, ...]:
    """Warn of two sources of geometry that disagree: neither says how the heart lies then."""
    found = []
    if not np.allclose(lengths_mm, spacing_mm, rtol=AFFINE_TOLERANCE, atol=0.0):
        claimed, real = (
            " × ".join(f"{v:.2f}" for v in sizes) for sizes in (lengths_mm, spacing_mm)
        )
        found.append(
            f"The affine of the NIfTI file claims voxels of {claimed} mm, pixdim {real} mm: "
            "pixdim is used."
        )
    if apart_mm > FORM_TOLERANCE_MM:
        found.append(
            f"The NIfTI file has two placements (sform and qform) that lie up to {apart_mm:.0f} mm "
            "apart: results are placed by the sform."
        )
    return tuple(found)
