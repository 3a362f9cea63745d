"""Facts of the documentation, held against the code that they are about."""

from __future__ import annotations

import re
from pathlib import Path

import pydicom.uid
import pytest

from scarseg_infer import __version__
from scarseg_infer.ecg.dicom import ECG_CLASSES
from scarseg_infer.node.dicom import mpps, query, receive
from scarseg_infer.write.dicom import codes, pdf, seg, sr
from scarseg_infer.write.folder import NAMES
from scarseg_runtime import errors
from scarseg_runtime.contract import INPUTS, OUTPUTS, Label
from scarseg_runtime.providers.registry import PROVIDERS

DOCS = Path(__file__).resolve().parents[2] / "docs"
VERIFICATION = "1.2.840.10008.1.1"
PROVIDED = {
    VERIFICATION, *receive.IMAGE_CLASSES, *ECG_CLASSES, *mpps.SERVICES,
}  # fmt: skip
USED = {
    seg.SOP_CLASS_UID, sr.SOP_CLASS_UID, pdf.SOP_CLASS_UID, *mpps.REPORTS,
    query._FIND, query._GET, query._MOVE,
}  # fmt: skip


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def rows(text: str, columns: int) -> list[list[str]]:
    """Cells of every row of a table with so many columns."""
    found = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    return [cells for cells in found if len(cells) == columns]


def test_sop_classes_and_roles() -> None:
    table = page("dicom-conformance.md").partition("### Network services")[2].partition("\n##")[0]
    told = {uid: (user, provider) for _, uid, user, provider in rows(table, 4) if uid[0].isdigit()}
    assert told == dict.fromkeys(PROVIDED, ("no", "yes")) | dict.fromkeys(USED, ("yes", "no"))


def test_transfer_syntaxes() -> None:
    section = page("dicom-conformance.md").partition("### Presentation contexts")[2]
    table = section.partition("\n###")[0]
    told = [uid for _, uid, _ in rows(table, 3) if uid[0].isdigit()]
    assert told == [str(uid) for uid in (*receive.UNCOMPRESSED, *receive.COMPRESSED)]
    assert all(pydicom.uid.UID(uid).is_transfer_syntax for uid in told)


@pytest.mark.parametrize(
    "status",
    [receive.OUT_OF_RESOURCES, receive.MISMATCH, receive.CANNOT_UNDERSTAND, receive.CONFLICT,
     mpps.INVALID_VALUE, mpps.MISSING, mpps.MISSING_VALUE, mpps.PROCESSING_FAILURE, mpps.DUPLICATE,
     mpps.NO_SUCH_INSTANCE, mpps.NO_SUCH_EVENT, mpps.NO_ROOM, mpps.NO_LONGER_UPDATED],
)  # fmt: skip
def test_status_codes(status: int) -> None:
    assert f"0x{status:04X}" in page("dicom-conformance.md")


def test_segments_of_the_segmentation() -> None:
    section = page("dicom-conformance.md").partition("### Segmentation")[2].partition("\n###")[0]
    for number, segment in enumerate(seg.SEGMENTS, start=1):
        (row,) = (cells for cells in rows(section, 5) if cells[0] == str(number))
        assert row[1] == segment.name
        for cell, code in zip(row[2:], (segment.category, segment.kind, segment.region),
                              strict=True):  # fmt: skip
            assert cell.startswith(f"{code.value} {code.scheme}")


def test_labels_against_segment_numbers() -> None:
    names = {
        "background": Label.BACKGROUND, "left ventricular cavity": Label.LV_CAVITY,
        "viable myocardium": Label.VIABLE_MYOCARDIUM, "scar": Label.SCAR,
        "right ventricular cavity": Label.RV_CAVITY,
    }  # fmt: skip
    numbers = {segment.label: str(n) for n, segment in enumerate(seg.SEGMENTS, start=1)}
    wanted = [[name, str(int(label)), numbers.get(label, "–")] for name, label in names.items()]
    assert [cells for cells in rows(page("how-to/results.md"), 3) if cells[1].isdigit()] == wanted


def test_codes_of_our_own_are_all_listed() -> None:
    ours = {
        value.value
        for value in vars(codes).values()
        if isinstance(value, codes.Code) and value.scheme == codes.PRIVATE_SCHEME
    }
    assert ours
    assert {code for code in ours if code not in page("dicom-conformance.md")} == set()


def test_numbers_of_series_and_the_version() -> None:
    text = page("dicom-conformance.md")
    wanted = f"{seg.SERIES_NUMBER} SEG, {sr.SERIES_NUMBER} SR, {pdf.SERIES_NUMBER} PDF"
    assert wanted in text
    assert f"Of scarseg-infer {__version__}," in text


def test_exit_codes() -> None:
    from scarseg_infer.cli import INTERRUPTED, TERMINATED
    from scarseg_infer.cohort.main import SOME_FAILED

    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.ScarsegError)
    ]
    used = {0, SOME_FAILED, INTERRUPTED, TERMINATED, *(kind.exit_code for kind in kinds)}
    told = {cells[0] for cells in rows(page("reference/exit-codes.md"), 3) if cells[0].isdigit()}
    assert told == {str(code) for code in used}


def test_outputs_inputs_and_providers() -> None:
    outputs = {cells[0]: cells[1] for cells in rows(page("reference/outputs.md"), 3)}
    assert {f"`{name}`": f"`{file}`" for name, file in NAMES.items()}.items() <= outputs.items()
    contract = {cells[0] for cells in rows(page("reference/model-file.md"), 3)}
    assert {f"`{spec.name}`" for spec in (*INPUTS, *OUTPUTS)} <= contract
    listed = re.findall(r"`([\w-]+)`", page("explanation/verification.md").partition("first of")[2])
    assert listed[: len(PROVIDERS)] == [provider.name for provider in PROVIDERS]


def test_every_public_name_is_in_the_reference() -> None:
    import scarseg_infer

    told = set(re.findall(r"^::: scarseg_infer\.(\w+)$", page("reference/api.md"), re.M))
    assert told | {"__version__"} == set(scarseg_infer.__all__)
