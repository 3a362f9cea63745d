"""The ECG of a study as the network will see it, and what was decided about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scarseg_infer.ecg.gap import Gap, gap_between
from scarseg_infer.ecg.read import read_ecg
from scarseg_infer.ecg.record import EcgRecord, analysed, checked
from scarseg_infer.host.quiet import quiet_readers
from scarseg_infer.result import EcgUse
from scarseg_infer.study.dicom.patient_id import normal
from scarseg_infer.study.files import StudyFiles
from scarseg_infer.study.stack import LgeStack
from scarseg_runtime.ecg.quality import EcgQuality, assess
from scarseg_runtime.errors import EcgError
from scarseg_runtime.model import NetworkOutput
from scarseg_runtime.preprocess import MeanBeat, mean_beat
from scarseg_runtime.taff import EcgDecision, decide

if TYPE_CHECKING:
    from scarseg_infer.ecg.in_study import EcgSearch


@dataclass(frozen=True, slots=True, eq=False)
class EcgEvidence:
    """Mean beat, its distance in time from the MRI, and whether it may count."""

    record: EcgRecord | None
    beat: MeanBeat | None
    quality: EcgQuality | None
    gap: Gap
    decision: EcgDecision
    warnings: tuple[str, ...]

    def use(self, output: NetworkOutput, disagreement_threshold: float) -> EcgUse:
        """Use that was made of the ECG in the result that the network gave."""
        used = self.beat is not None and self.decision.valid
        odd = output.ecg_image_disagreement > disagreement_threshold
        return EcgUse(
            given=self.beat is not None,
            weight=output.ecg_weight,
            gap_days=self.gap.days,
            gap_source=self.gap.source,
            reason=self.decision.reason,
            source=self.record.source if self.record else None,
            heart_rate_bpm=self.beat.heart_rate_bpm if self.beat else None,
            beats_averaged=self.beat.beats_averaged if self.beat else None,
            quality=self.quality,
            derived_leads=self.beat.derived_leads if self.beat else (),
            mean_beat_mv=self.beat.beat_mv if self.beat else None,
            segment_belief=output.ecg_segment_belief if self.beat else None,
            image_disagreement=odd if used else None,
        )


def search_for(
    study: str | Path | StudyFiles | LgeStack, ecg: str | Path | EcgRecord | None
) -> EcgSearch | None:
    """Search that has to see the files of the study while they are read: None where an ECG is
    named, or the study is no file."""
    if ecg is not None or isinstance(study, LgeStack):
        return None
    from scarseg_infer.ecg.in_study import EcgSearch

    return EcgSearch()


def find_record(
    ecg: str | Path | EcgRecord | None, search: EcgSearch | None
) -> tuple[EcgRecord | None, tuple[str, ...]]:
    """The ECG that was named, else the newest that was found in the study, and what to say of it.

    Args:
        search: that of :func:`search_for`, which has seen the study.

    Raises:
        EcgError: the ECG that was named cannot be read.
    """
    if isinstance(ecg, EcgRecord):
        return ecg, ()
    if ecg is not None:
        return read_ecg(ecg), ()
    record, warnings = search.found() if search else (None, ())
    if record is not None:
        warnings = ("No ECG was named; the one in the study was used.", *warnings)
    return record, warnings


def ecg_evidence(
    stack: LgeStack,
    record: EcgRecord | None,
    gap_days: float | None,
    *,
    image_only: bool,
    allow_identity_mismatch: bool,
) -> EcgEvidence:
    """Prepare the ECG and decide whether it may count.

    Args:
        gap_days: days between ECG and MRI where the files' own dates do not tell.
        image_only: the model has no use for an ECG.

    Raises:
        EcgError: it is not fit to be used, or both files carry a patient identifier and they
            differ (unless ``allow_identity_mismatch``).
    """
    if record is not None:
        record = analysed(checked(record))
    gap = gap_between(stack.acquired, record, gap_days, mri_date_only=stack.date_only)
    if record is None:
        decision = decide(gap.days, ecg_given=False)
        return EcgEvidence(None, None, None, gap, decision, gap.warnings)
    mismatch = check_identity(_patient_id(stack), record, allow_mismatch=allow_identity_mismatch)
    beat = mean_beat(record.signals_mv, record.rate_hz, record.lead_names)
    quality = assess(record.signals_mv, record.rate_hz, record.lead_names, beat)
    findings = list(quality.findings)
    if image_only:
        findings.append("this model looks at the image only")
    decision = decide(gap.days, ecg_given=True, findings=findings)
    warnings = (*record.warnings, *beat.warnings, *quality.warnings, *gap.warnings)
    if mismatch:
        warnings = (mismatch, *warnings)
    if gap.ecg_after_mri:
        warnings += ("The ECG was recorded after the MRI: it may show what the image cannot.",)
    if not decision.valid:
        warnings += (f"{decision.reason[:1].upper()}{decision.reason[1:]}.",)
    return EcgEvidence(record, beat, quality, gap, decision, warnings)


def _patient_id(stack: LgeStack) -> str | None:
    if not stack.datasets:
        return None
    # Here, not above: so that a model loads while pydicom is imported, or where it never is.
    from scarseg_infer.study.dicom.parse import text

    with quiet_readers():  # pydicom would quote an identifier that it does not like
        return text(stack.datasets[0], "PatientID")


def check_identity(
    mri_patient_id: str | None, record: EcgRecord, *, allow_mismatch: bool
) -> str | None:
    """Compare the patient identifiers of MRI and ECG, which are never quoted.

    They are compared as :func:`~scarseg_infer.study.dicom.patient_id.normal` makes them.

    Args:
        mri_patient_id: PatientID of the MRI; None or blank where it has none.
        record: the ECG.
        allow_mismatch: go on, with a warning, where they differ.

    Returns:
        A warning where they differ and that was allowed, else None: they agree, or at least one
        file has no identifier (one without any letter or digit, such as ``---``, is none).

    Raises:
        EcgError: both have one and they differ.
    """
    mri, ecg = normal(mri_patient_id), normal(record.patient_id)
    if not mri or not ecg or mri == ecg:
        return None
    if allow_mismatch:
        return "ECG and MRI carry different patient identifiers: this was allowed by the user."
    raise EcgError(
        "ECG and MRI carry different patient identifiers",
        "Check that both files are of this patient; if they are, pass --allow-identity-mismatch",
    )
