"""Simulated patients as files: DICOM study, ECG in WFDB and DICOM, label volume, and the table."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scarseg_export.twin.cohort import TAU_DAYS, Case, is_stale, sample_case, sample_gaps
from scarseg_export.twin.dicom_objects import MRI_TIME, STEP_MV, ecg_dataset, slice_dataset
from scarseg_export.twin.ecg import ONSET_MS, STEP_MS, simulate_raw
from scarseg_export.twin.image import ImageStack
from scarseg_export.twin.shift import SEED_BASE, SHIFTED_TAU_DAYS, shifted_case
from scarseg_export.twin.torso import ANTERIOR, LATERAL, LONG_AXIS
from scarseg_runtime.contract import BEAT_SAMPLES, ECG_RATE_HZ, LEADS
from scarseg_runtime.whole import not_written

STRIP_S = 10.0
WANDER_MM = 15.0
"""Greatest distance of the heart from the image centre."""


CLASSES_TOML = """\
# What the values of labels.nii.gz mean: scarseg-export data check, train and score read this.
training_data = "{about}"
licence = "Apache-2.0"

[values]
0 = "background"
1 = "cavity"
2 = "myocardium"
3 = "scar"
4 = "rv"
"""
SIMULATED = "Simulated patients of the digital twin. No patient image, ECG or label was used."
SHIFTED = "Simulated patients of a shifted digital twin. No patient image, ECG or label was used."


def write_cohort(
    out: Path,
    cases: int,
    seed: int,
    *,
    size: int,
    spacing_mm: float,
    gap_days: float | None,
    shift: bool,
) -> Iterator[tuple[Path, float]]:
    """Write patients, one folder each, then ``table.csv`` and ``classes.toml``; yields every folder
    as it is there, and the days between its ECG and MRI.

    Raises:
        OutputError: the folder cannot be written.
    """
    rows = []
    tau_days = SHIFTED_TAU_DAYS if shift else TAU_DAYS
    try:
        for number in range(seed, seed + cases):
            rng = np.random.default_rng([number, 6])
            gap = sample_gaps(rng, 1)
            if gap_days is not None:
                gap[:] = gap_days
            stale = bool(is_stale(rng, gap, tau_days)[0])
            case = shifted_case(SEED_BASE + number) if shift else sample_case(number)
            folder = out / f"twin-{number:06d}"
            write_case(
                case, folder, size=size, spacing_mm=spacing_mm, gap_days=float(gap[0]), stale=stale
            )
            name = folder.name
            rows.append((name, f"{name}/study", f"{name}/labels.nii.gz", f"{name}/ecg/twin.hea"))
            yield folder, float(gap[0])
        with (out / "table.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([("id", "study", "mask", "ecg"), *rows])
        about = SHIFTED if shift else SIMULATED
        (out / "classes.toml").write_text(CLASSES_TOML.format(about=about), encoding="utf-8")
    except OSError as error:
        raise not_written("the simulated patients", error) from error


def write_case(
    case: Case, folder: Path, *, size: int, spacing_mm: float, gap_days: float, stale: bool
) -> None:
    """Write ``study/*.dcm``, ``ecg/twin.hea`` + ``.dat``, the same ECG as DICOM, ``ecg/twin.dcm``,
    and ``labels.nii.gz`` into ``folder``."""
    stack = case.image(size, spacing_mm, WANDER_MM)
    heights = stack.heights_mm
    _write_dicom(case, stack, heights, folder / "study")
    recorded = (MRI_TIME - timedelta(days=gap_days)).replace(microsecond=0)
    _write_ecg(case, folder / "ecg", recorded, stale)
    _write_labels(stack, heights, folder / "labels.nii.gz")


def rhythm_strip(case: Case, stale: bool) -> NDArray[np.float64]:
    """[5000, 12] ten seconds at 500 Hz in mV: beats with varying RR, noise, baseline wander."""
    scar = case.other_scar if stale else case.scar
    beat = simulate_raw([case.anatomy], [scar], [case.conduction])[0].T
    rng = np.random.default_rng([case.seed, 5])
    samples = int(STRIP_S * ECG_RATE_HZ)
    strip = np.zeros((samples + 2 * BEAT_SAMPLES, len(LEADS)))
    time_ms = rng.uniform(0, 400.0)
    while time_ms < STRIP_S * 1000.0 + ONSET_MS:
        start = int(BEAT_SAMPLES + (time_ms - ONSET_MS) / STEP_MS)
        strip[start : start + BEAT_SAMPLES] += beat[: len(strip) - start]
        time_ms += case.conduction.rr_ms * (1.0 + rng.normal(0.0, 0.025))
    strip = strip[BEAT_SAMPLES : BEAT_SAMPLES + samples]
    seconds = np.arange(samples)[:, None] / ECG_RATE_HZ
    wander = 0.06 * np.sin(2 * np.pi * (0.22 * seconds + rng.random(8)[None, :]))
    electrodes = wander + rng.normal(0.0, 0.008, (samples, 8))
    limb, chest = electrodes[:, :2], electrodes[:, 2:]
    return strip + np.hstack([_limb_leads(limb[:, 0], limb[:, 1]), chest])


def _limb_leads(one: NDArray[np.float64], two: NDArray[np.float64]) -> NDArray[np.float64]:
    """I, II, III, aVR, aVL, aVF from I and II, so that noise obeys Einthoven's law too."""
    leads = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    return np.stack(leads, axis=1)


def _write_ecg(case: Case, folder: Path, recorded: datetime, stale: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    counts = np.rint(rhythm_strip(case, stale) / STEP_MV).astype(np.int16)
    (folder / "twin.dat").write_bytes(counts.astype("<i2").tobytes())
    (folder / "twin.hea").write_text(_wfdb_header(counts, recorded), encoding="ascii")
    dataset = ecg_dataset(case, counts, recorded)
    dataset.save_as(folder / "twin.dcm", enforce_file_format=True)


def _wfdb_header(counts: NDArray[np.int16], recorded: datetime) -> str:
    """The header of ``twin.dat``: header(5) of the WFDB Applications Guide, storage format 16."""
    moment = recorded.strftime("%H:%M:%S %d/%m/%Y")
    lines = [f"twin {len(LEADS)} {ECG_RATE_HZ:g} {len(counts)} {moment}"]
    for lead, samples in zip(LEADS, counts.T, strict=True):
        checksum = int(samples.sum(dtype=np.int64)) % 65536
        scale = f"{1.0 / STEP_MV}(0)/mV"
        lines.append(f"twin.dat 16 {scale} 16 0 {samples[0]} {checksum} 0 {lead}")
    return "\n".join([*lines, "# Digital twin, simulated. No patient.", ""])


def _write_dicom(case: Case, stack: ImageStack, heights: NDArray[np.float64], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pitch_mm, origins = float(heights[1] - heights[0]), _origins(stack, heights)
    for index, pixels in enumerate(stack.pixels):
        dataset = slice_dataset(case, stack, index, pitch_mm=pitch_mm, origin_mm=origins[index])
        dataset.set_pixel_data(
            pixels.astype(np.uint16), "MONOCHROME2", 16, generate_instance_uid=False
        )
        dataset.save_as(folder / f"lge{index + 1:03d}.dcm", enforce_file_format=True)


def _origins(stack: ImageStack, heights: NDArray[np.float64]) -> NDArray[np.float64]:
    """[S, 3] patient coordinates of each slice's first voxel, LPS mm."""
    rows, columns = stack.pixels.shape[1:]
    corner = (0.5 * (rows - 1) * ANTERIOR - 0.5 * (columns - 1) * LATERAL) * stack.spacing_mm
    return corner + heights[:, None] * LONG_AXIS


def _write_labels(stack: ImageStack, heights: NDArray[np.float64], path: Path) -> None:
    import nibabel

    affine = np.eye(4)
    affine[:3, 0] = LATERAL * stack.spacing_mm
    affine[:3, 1] = -ANTERIOR * stack.spacing_mm
    affine[:3, 2] = LONG_AXIS * (heights[1] - heights[0])
    affine[:3, 3] = _origins(stack, heights)[0]
    image = nibabel.Nifti1Image(stack.labels.transpose(2, 1, 0), np.diag([-1, -1, 1, 1]) @ affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
