"""Real backgrounds: contoured cine frames read as they are, rendered as plausible LGE."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from scarseg_export.train import cine_render
from scarseg_export.train.cine import CineStack, read_cine, signed_distance
from scarseg_export.train.cine_render import render_cine
from scarseg_export.train.losses import UNKNOWN_OUTSIDE
from scarseg_export.twin.image import ImageStack
from scarseg_export.twin.scar import ScarMap, ischaemic_scar, no_scar
from scarseg_runtime.contract import Label
from scarseg_runtime.errors import UsageError

SPACING, PITCH, PHASES = 1.5, 9.0, 20
ED, ES = 1, 8
SHAPE = (120, 140)
CENTRE = (72.0, 55.0)
"""Column and row in the frame."""
RADII = [(20.0, 28.0), (19.0, 27.0), (17.0, 25.0), (14.0, 22.0)]
"""Pixels, base → apex: endocardium and epicardium."""
SUBJECT = "SC-HF-I-3"


def circle(radius: float, points: int = 180) -> np.ndarray:
    turn = np.arange(points) * (2 * np.pi / points)
    ring = np.stack([CENTRE[0] + radius * np.cos(turn), CENTRE[1] + radius * np.sin(turn)], axis=1)
    return np.round(ring, 2)


def frame(endo: float, epi: float, seed: int = 0) -> np.ndarray:
    """Bright blood, dark wall, mid-grey surroundings."""
    rows, columns = np.indices(SHAPE)
    radius = np.hypot(columns - CENTRE[0], rows - CENTRE[1])
    noise = np.random.default_rng(seed).normal(0, 8, SHAPE)
    values = np.where(radius < endo, 600, np.where(radius < epi, 150, 300)) + noise
    return values.astype(np.uint16)


def write_dicom(path: Path, pixels: np.ndarray, position_mm: float, phase: int, place: int) -> None:
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.SOPClassUID, header.SOPInstanceUID = MRImageStorage, generate_uid()
    header.file_meta.MediaStorageSOPClassUID = MRImageStorage
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    header.Rows, header.Columns = pixels.shape
    header.PixelSpacing = [SPACING, SPACING]
    header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    header.ImagePositionPatient = [-50, 20, position_mm]
    header.InstanceNumber, header.CardiacNumberOfImages = place * PHASES + phase + 1, PHASES
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit, header.PixelRepresentation = 15, 0
    header.PixelData = pixels.tobytes()
    header.save_as(path, enforce_file_format=True)


def write_contour(path: Path, polygon: np.ndarray) -> None:
    """As the data set writes them: the first pixel's centre is (1, 1)."""
    path.write_text("".join(f"{x:.2f} {y:.2f}\n" for x, y in polygon + 1))


def write_subject(folder: Path, positions: list[float] | None = None) -> Path:
    """Frames at end diastole with both contours, at end systole with the endocardium only."""
    subject = folder / SUBJECT
    subject.mkdir(parents=True)
    for k, (endo, epi) in enumerate(RADII):
        position = -PITCH * k if positions is None else positions[k]
        for phase, size in ((ED, 1.0), (ES, 0.7)):
            name = subject / f"{k * PHASES + phase + 1:04d}"
            pixels = frame(endo * size, epi, seed=k)
            write_dicom(name.with_suffix(".dcm"), pixels, position, phase, k)
            write_contour(Path(f"{name}-endo.txt"), circle(endo * size))
            if phase == ED:
                write_contour(Path(f"{name}-epi.txt"), circle(epi))
    return subject


@pytest.fixture
def subject(tmp_path: Path) -> Path:
    return write_subject(tmp_path)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> CineStack:
    folder = tmp_path_factory.mktemp("cine")
    write_subject(folder)
    return read_cine(folder)[0]


@pytest.fixture(scope="module")
def real(shared_data: Path) -> list[CineStack]:
    with pytest.warns(UserWarning, match="9 cine frames left out"):
        return read_cine(shared_data / "sunnybrook-cc0")


@pytest.fixture
def noiseless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels stay in units of blood − myocardium, without noise or coil bias."""
    monkeypatch.setattr(cine_render, "acquire", lambda rng, image, look, spacing_mm: image)


def filled(inner: float, outer: float, core: float = 0.0) -> ScarMap:
    """Scar between two depths in the whole ring, from base to apex."""
    table = np.ones_like(no_scar().inner)
    return ScarMap("ischaemic", inner * table, outer * table, core * table)


def rendered(
    stack: CineStack, seed: int, scar: ScarMap | None = None, **kwargs: object
) -> ImageStack:
    options = {"size": 112, "spacing_mm": 1.4, "wander_mm": 10.0, "slices": 3} | kwargs
    mimic = options.pop("mimic", no_scar())
    rng = np.random.default_rng(seed)
    return render_cine(rng, stack, scar or no_scar(), mimic, **options)  # type: ignore[arg-type]


def area(polygon: np.ndarray) -> float:
    x, y = polygon.T
    return abs(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2


# Reading


def test_a_written_folder_reads_back_exactly(subject: Path) -> None:
    (stack,) = read_cine(subject.parent)
    assert stack.spacing_mm == SPACING
    assert np.allclose(stack.heights_mm, PITCH * np.arange(4))
    for k, (endo, epi) in enumerate(RADII):
        assert np.array_equal(stack.pixels[k], frame(endo, epi, seed=k))
        assert np.allclose(stack.endo[k], circle(endo))
        assert np.allclose(stack.epi[k], circle(epi))


def test_a_subject_folder_alone_will_do(subject: Path) -> None:
    assert len(read_cine(subject)) == 1


def test_the_apex_comes_last_whichever_way_the_positions_run(tmp_path: Path) -> None:
    write_subject(tmp_path, [PITCH * k for k in range(4)])
    (stack,) = read_cine(tmp_path)
    assert area(stack.endo[0]) > area(stack.endo[-1])
    assert stack.heights_mm[0] == 0 and (np.diff(stack.heights_mm) > 0).all()


def test_a_gap_parts_the_stack(tmp_path: Path) -> None:
    write_subject(tmp_path, [0.0, -PITCH, -2 * PITCH, -4 * PITCH])
    (stack,) = read_cine(tmp_path)
    assert len(stack.pixels) == 3


def test_systolic_frames_with_both_contours_do_not_mix_with_diastole(subject: Path) -> None:
    for k in (0, 1):
        write_contour(subject / f"{k * PHASES + ES + 1:04d}-epi.txt", circle(RADII[k][1]))
    (stack,) = read_cine(subject)
    assert np.allclose([area(p) for p in stack.endo], [area(circle(r)) for r, _ in RADII])


def test_the_public_layout_finds_the_series_that_was_contoured(
    subject: Path, tmp_path: Path
) -> None:
    public = tmp_path / "public"
    contours = public / "SCD_ManualContours" / "SC-HF-I-03" / "contours-manual" / "IRCCI-expert"
    images = public / "SCD_IMAGES_01" / "SCD0000301" / "CINESAX_300"
    contours.mkdir(parents=True)
    images.mkdir(parents=True)
    (public / "scd_patientdata.csv").write_text("PatientID,OriginalID\nSCD0000301,SC-HF-I-3\n")
    for path in subject.iterdir():
        number, _, kind = path.stem.partition("-")
        if kind:
            letter = {"endo": "i", "epi": "o"}[kind]
            path.rename(contours / f"IM-0001-{number}-{letter}contour-manual.txt")
        else:
            place, phase = divmod(int(number) - 1, PHASES)
            flat = np.full(SHAPE, 200, np.uint16)
            write_dicom(images / f"IM-0003-{number}.dcm", flat, -PITCH * place, phase, place)
            path.rename(images / f"IM-0007-{number}.dcm")
    (stack,) = read_cine(public)
    assert np.array_equal(stack.pixels[0], frame(*RADII[0]))


def test_contours_of_different_hearts_are_left_out(subject: Path) -> None:
    write_contour(subject / f"{ED + 1:04d}-epi.txt", circle(RADII[0][1]) + np.array([0, 25]))
    with pytest.warns(UserWarning, match="1 cine frames left out"):
        (stack,) = read_cine(subject)
    assert len(stack.pixels) == 3


def ruin_dicom(subject: Path) -> None:
    next(subject.glob("0002.dcm")).write_bytes(b"no DICOM")


def ruin_numbers(subject: Path) -> None:
    (subject / "0002-epi.txt").write_text("1.0 2.0\nthree four\n")


def odd_numbers(subject: Path) -> None:
    (subject / "0002-endo.txt").write_text("1.0 2.0\n3.0\n")


def contour_outside(subject: Path) -> None:
    write_contour(subject / "0002-epi.txt", circle(200.0))


def no_epicardium(subject: Path) -> None:
    for path in subject.glob("*-epi.txt"):
        path.unlink()


def no_images(subject: Path) -> None:
    for path in subject.glob("*.dcm"):
        path.unlink()


def too_few(subject: Path) -> None:
    for path in list(subject.glob("*-epi.txt"))[2:]:
        path.unlink()


@pytest.mark.parametrize(
    "ruin",
    [ruin_dicom, ruin_numbers, odd_numbers, contour_outside, no_epicardium, no_images, too_few],
)
def test_broken_folders_are_refused_without_names(
    subject: Path, ruin: Callable[[Path], None]
) -> None:
    ruin(subject)
    with pytest.raises(UsageError) as caught:
        read_cine(subject.parent)
    assert caught.value.advice
    assert SUBJECT not in str(caught.value) and str(subject.parent) not in str(caught.value)


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        read_cine(tmp_path / "nowhere")


def test_signed_distance_of_a_circle() -> None:
    columns, rows = np.arange(40, 105), np.arange(25, 86)
    found = signed_distance(circle(20.0, 720), columns, rows)
    exact = 20.0 - np.hypot(columns - CENTRE[0], rows[:, None] - CENTRE[1])
    assert np.abs(found - exact).max() < 0.02


# Rendering


def test_pixels_fit_their_storage(stack: CineStack) -> None:
    for seed in range(6):
        image = rendered(stack, seed)
        assert image.pixels.dtype == np.float32 and image.pixels.shape == (3, 112, 112)
        assert np.array_equal(image.pixels.astype(np.uint16), image.pixels)
        assert set(np.unique(image.labels)) == {1, 2, UNKNOWN_OUTSIDE}


def test_the_same_seed_draws_the_same_picture(stack: CineStack) -> None:
    scar = ischaemic_scar(np.random.default_rng(1))
    first, second, other = (rendered(stack, seed, scar) for seed in (4, 4, 5))
    assert np.array_equal(first.pixels, second.pixels)
    assert np.array_equal(first.labels, second.labels)
    assert not np.array_equal(first.pixels, other.pixels)


def test_a_mimic_is_painted_like_scar_and_labelled_viable(stack: CineStack) -> None:
    patch = ischaemic_scar(np.random.default_rng(1))
    for seed in range(5):
        scar = rendered(stack, seed, patch)
        mimic = rendered(stack, seed, mimic=patch)
        assert np.array_equal(scar.pixels, mimic.pixels)
        assert np.array_equal(scar.labels == Label.SCAR, mimic.mimic)
        assert not (mimic.labels == Label.SCAR).any() and not scar.mimic.any()


@pytest.mark.usefixtures("noiseless")
def test_contrast_is_in_units_of_blood_minus_myocardium(stack: CineStack) -> None:
    for seed in range(8):
        image = rendered(stack, seed, filled(0.4, 1.4), spacing_mm=0.8, size=180)
        level = {n: np.median(image.pixels[image.labels == n]) for n in (1, 2, 3)}
        assert abs(level[2]) < 0.25 and 0.85 < level[1] < 1.15 and 0.35 < level[3] < 1.6


@pytest.mark.usefixtures("noiseless")
def test_borders_are_soft(stack: CineStack) -> None:
    """Many wall pixels beside the cavity hold some blood, and less than half."""
    for seed in range(8):
        image = rendered(stack, seed, spacing_mm=0.8, size=180)
        cavity = image.labels == Label.LV_CAVITY
        wall = image.labels == Label.VIABLE_MYOCARDIUM
        touching = wall & (np.roll(cavity, 1, 1) | np.roll(cavity, -1, 1))
        muscle, blood = (np.median(image.pixels[part]) for part in (wall & ~touching, cavity))
        share = (image.pixels[touching] - muscle) / (blood - muscle)
        assert ((share > 0.05) & (share < 0.6)).mean() > 0.4


def test_scar_stays_inside_the_wall(stack: CineStack) -> None:
    scar = filled(0.35, 0.65)
    for seed in range(8):
        labels = rendered(stack, seed, scar, spacing_mm=0.8, size=180).labels
        found = labels == Label.SCAR
        assert found.any()
        for axis in (1, 2):
            for step in (1, -1):
                beside = np.roll(labels, step, axis)[found]
                assert np.isin(beside, (Label.SCAR, Label.VIABLE_MYOCARDIUM)).mean() > 0.99


@pytest.mark.usefixtures("noiseless")
def test_dark_cores_are_scar(stack: CineStack) -> None:
    whole, cored = (
        rendered(stack, 4, filled(-0.2, 1.2, core), spacing_mm=0.8, size=180) for core in (0.0, 0.3)
    )
    assert np.array_equal(whole.labels, cored.labels)
    darker = cored.pixels - whole.pixels
    assert darker.min() < -0.4 and (np.abs(darker[whole.labels != Label.SCAR]) < 0.2).all()


def test_the_heart_is_where_the_centre_says(stack: CineStack) -> None:
    for seed in range(10):
        image = rendered(stack, seed, wander_mm=30.0)
        columns, rows = np.rint(image.centres_mm.T / 1.4 + 112 / 2 - 0.5).astype(int)
        assert (image.labels[np.arange(3), rows, columns] == Label.LV_CAVITY).all()
        assert (np.abs(image.centres_mm) < 30.0 + 12.0).all()


def test_where_the_view_leaves_the_frame_pixels_are_lowest(stack: CineStack) -> None:
    image = rendered(stack, 1, size=160, spacing_mm=2.0)
    corners = image.pixels[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == image.pixels.min()).all()


def test_a_short_stack_repeats_its_last_slice(stack: CineStack) -> None:
    image = rendered(stack, 0, slices=6)
    assert np.array_equal(image.heights_mm, PITCH * np.array([0, 1, 2, 3, 3, 3]))


def test_shapes_vary_about_the_contours(stack: CineStack) -> None:
    sizes, walls = [], []
    drawn = np.mean([area(circle(epi)) for _, epi in RADII]) * SPACING**2
    for seed in range(30):
        labels = rendered(stack, seed, slices=4, wander_mm=0.0).labels
        heart = (labels != UNKNOWN_OUTSIDE).sum()
        sizes.append(heart * 1.4**2 / 4 / drawn)
        walls.append((labels == Label.VIABLE_MYOCARDIUM).sum() / heart)
    assert 0.9 < np.median(sizes) < 1.2 and min(sizes) > 0.55 and max(sizes) < 1.7
    assert np.std(sizes) > 0.1 and np.std(walls) > 0.03


# Real frames


def near(stack: CineStack, k: int, polygon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels about a polygon and how far inside it they lie."""
    (left, top), (right, bottom) = np.floor(polygon.min(0)) - 4, np.ceil(polygon.max(0)) + 5
    columns, rows = np.arange(int(left), int(right)), np.arange(int(top), int(bottom))
    return stack.pixels[k][np.ix_(rows, columns)], signed_distance(polygon, columns, rows)


def test_the_real_folder_gives_whole_hearts(real: list[CineStack]) -> None:
    # SC-HF-I-6 carries the epicardium of SC-HF-I-1 and is left out.
    assert [len(stack.pixels) for stack in real] == [9, 9, 10, 9]
    for stack in real:
        assert np.allclose(np.diff(stack.heights_mm), stack.heights_mm[1], atol=0.01)
        areas = np.array([[area(p) for p in borders] for borders in (stack.endo, stack.epi)])
        assert (areas[0] < areas[1]).all() and areas[0, 0] > areas[0, -1]
        for k in range(0, len(stack.pixels), 4):
            for borders, expected in zip((stack.endo, stack.epi), areas[:, k], strict=True):
                _, inside = near(stack, k, borders[k])
                assert np.clip(inside + 0.5, 0, 1).sum() == pytest.approx(expected, rel=0.02)


def test_real_contours_lie_on_the_edges_of_the_images(real: list[CineStack]) -> None:
    """The step from wall to blood is largest where the contours are, not a pixel beside."""

    def step(shift: float) -> float:
        found = []
        for stack in real:
            for k in range(0, len(stack.pixels), 2):
                pixels, inside = near(stack, k, stack.endo[k] + shift)
                blood, wall = (pixels[(s * inside > 0) & (s * inside < 2)].mean() for s in (1, -1))
                found.append((blood - wall) / pixels.std())
        return float(np.mean(found))

    assert step(0.0) > max(step(-1.0), step(1.0))


def test_real_frames_render(real: list[CineStack]) -> None:
    for seed, stack in enumerate(real):
        scar = dataclasses.replace(filled(-0.2, 0.7), kind="ischaemic")
        render = rendered(stack, seed, scar, slices=5)
        for label in (Label.LV_CAVITY, Label.SCAR):
            assert (render.labels == label).any(axis=(1, 2)).all()
