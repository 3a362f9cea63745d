"""Grammar of the commands that take a table of patients; imports nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path

from scarseg_export.patients.shipped import SHIPPED

MIN_SCAR_ML = 1.0
"""Smaller islands of scar count as noise in what is deployed, scored by folds, and decided by."""
DATA_HELP = """\
A table of labelled patients: CSV in any usual encoding, separated by comma, semicolon or tab, or
Parquet. Paths are taken from its folder. Its columns:

  study      what scarseg-infer reads: a DICOM folder, a zip of one, NIfTI
  mask       NIfTI, DICOM SEG, or a folder of either; resampled where its grid is another
  ecg        optional: what scarseg-infer reads
  gap_days   optional: days between ECG and MRI where the dates of the files do not tell
  id         optional: names the patient in results
  group      optional: rows of one group (patient, hospital) never fall into different folds
  split      optional: train, validation or test, in place of folds
  weight     optional: how often a patient is drawn in training (1)
  series     optional: number of scarseg-infer STUDY --list-series, or SeriesInstanceUID

What the masks mean stands in classes.toml beside the table, or in --classes:

  training_data = "180 patients of ..."   # optional, for the model card
  licence = "..."                         # optional
  empty_slices = "background"             # or "unlabelled"
  missing_segments = "unlabelled"         # or "background": a mask without a segment that is named
  [values]                 # NIfTI
  1 = "cavity"             # background, cavity, myocardium, scar, mvo (counts as scar), rv,
  2 = "myocardium"         # unlabelled (teaches nothing)
  3 = "scar"
  [segments]               # DICOM SEG, by label, code, or SCHEME:code
  "LV scar" = "scar"
  [files]                  # a folder of NIfTI files of one class each, by name
  "scar" = "scar"

Cavity, myocardium, RV or scar may be missing: what nobody drew is not learned.
"""


def data_arguments(data: argparse.ArgumentParser) -> None:
    """``data check``, ``data from-nnunet`` and ``data to-nnunet``."""
    add = data.add_subparsers(dest="action", required=True, metavar="ACTION").add_parser
    check = add("check", help="explain every problem of a table by row",
                formatter_class=argparse.RawDescriptionHelpFormatter,
                description=DATA_HELP)  # fmt: skip
    table_arguments(check)
    check.add_argument("--model", type=Path, default=SHIPPED, metavar="FILE",
                       help="looks whether masks fit (%(default)s: the shipped model)")  # fmt: skip
    check.add_argument("--files-only", action="store_true", help="no model looks at the images")
    check.add_argument("--report", type=Path, metavar="JSON", help="write the facts as JSON")
    nnunet = add("from-nnunet", help="make a table of a raw data set of nnU-Net v2")
    nnunet.add_argument("folder", type=Path, metavar="DATASET", help="DatasetXXX_Name")
    nnunet.add_argument("-o", "--out", type=Path, required=True, metavar="TABLE.csv",
                        help="classes.toml is written beside it")  # fmt: skip
    training = add("to-nnunet", help="make a raw data set of nnU-Net v2 of a table",
                   description="Images and masks in the orientation in which the product shows "
                   "them, as a network must see them in training to be exported.")  # fmt: skip
    table_arguments(training)
    training.add_argument("-o", "--out", type=Path, required=True, metavar="DATASET",
                          help="new folder, DatasetXXX_Name")  # fmt: skip


def score_arguments(score: argparse.ArgumentParser) -> None:
    """``score``."""
    table_arguments(score)
    score.add_argument("--model", type=Path, action="append", default=[], metavar="FILE",
                       help="a model file, or shipped; may be repeated (shipped)")  # fmt: skip
    score.add_argument("--folds", type=Path, metavar="RUN",
                       help="run of train --data: each patient by its own fold")  # fmt: skip
    score.add_argument("-o", "--out", type=Path, required=True, metavar="REPORT",
                       help="new folder for score.html, score.csv and score.json")  # fmt: skip


def tune_arguments(train: argparse.ArgumentParser) -> None:
    """Options of ``train`` for patients of one's own."""
    train.add_argument("--data", type=Path, metavar="TABLE",
                       help="your labelled patients: see data check --help")  # fmt: skip
    train.add_argument("--classes", type=Path, metavar="TOML",
                       help="with --data: what masks mean (classes.toml)")  # fmt: skip
    _identity_argument(train, "with --data: ")
    train.add_argument("--from", type=Path, dest="start", metavar="MODEL",
                       help="with --data: .onnx, model.pt or shipped, to begin with")  # fmt: skip
    train.add_argument("--folds", type=int,
                       help="with --data: how many, besides the run on all (5)")  # fmt: skip
    train.add_argument("--twin-share", type=float,
                       help="with --data: simulated patients in a batch (0.5)")  # fmt: skip


def table_arguments(command: argparse.ArgumentParser) -> None:
    """A table and its TOML."""
    command.add_argument("table", type=Path, metavar="TABLE", help="CSV or Parquet")
    command.add_argument("--classes", type=Path, metavar="TOML",
                         help="what masks mean (default: classes.toml beside it)")  # fmt: skip
    _identity_argument(command)


def _identity_argument(command: argparse.ArgumentParser, when: str = "") -> None:
    command.add_argument("--allow-identity-mismatch", action="store_true",
                         help=f"{when}go on, with a warning, where the files of a row carry "
                         "different patient identifiers")  # fmt: skip
