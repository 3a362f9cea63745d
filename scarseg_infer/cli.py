"""The command line: parse, run, one line of error, documented exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scarseg_infer.host.stop import EXIT_CODE as TERMINATED
from scarseg_infer.host.stop import Sigterm
from scarseg_runtime.console import INTERRUPTED, CommandParser, run_console
from scarseg_runtime.errors import ScarsegError, UsageError
from scarseg_runtime.version import __version__

EXIT_CODES = """exit codes:
  0 done   1 internal error   2 usage   3 study unreadable or unsuitable
  4 ECG unreadable or unsuitable   5 model or provider   6 output
  130 interrupted   143 stopped by SIGTERM

Research use only. Not a medical device. The shipped reference model is trained on simulated
and re-rendered hearts and on real ECGs, and has never seen the image of a patient's scar."""

DEFAULT_OUT = Path("scarseg-result")
DEMO_OUT = Path("scarseg-demo")


def parser() -> argparse.ArgumentParser:
    """The command line's grammar; imports nothing heavy, so --help is instant."""
    arguments = CommandParser(
        prog="scarseg-infer",
        description="Find myocardial scar in an LGE short-axis MRI study, helped by a 12-lead ECG\n"
        "that counts the less the further in time it lies from the MRI.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = arguments.add_argument
    add("study", nargs="?", metavar="STUDY", type=_place,
        help="DICOM folder, zip of one, NIfTI file, or https://server/…/studies/UID")  # fmt: skip
    add("ecg", nargs="?", metavar="ECG", type=_place,
        help="WFDB record (.dat, .hea), DICOM, Philips or GE MUSE XML, HL7 aECG, SCP-ECG or EDF "
        "file, or an address as of STUDY (default: the ECG in the study folder, if there is one; "
        "with an address the newest of the patient on the server)")  # fmt: skip
    add("-o", "--out", metavar="OUT", type=Path,
        help=f"folder for the results (default: {DEFAULT_OUT})")  # fmt: skip
    add("--gap-days", metavar="N", type=float,
        help="days between ECG and MRI, where the files do not tell; unknown means that the "
        "ECG gets no weight")  # fmt: skip
    add("--series", metavar="N",
        help="series to read: a number of --list-series or a SeriesInstanceUID")  # fmt: skip
    add("--list-series", action="store_true",
        help="say what each series of STUDY is taken for and which would be read; shows series "
        "descriptions, in which staff sometimes write names")  # fmt: skip
    add("--prefer", choices=("PSIR", "magnitude"), default="PSIR",
        help="where the same slices are there as both (default: PSIR)")  # fmt: skip
    add("--allow-identity-mismatch", action="store_true",
        help="go on where ECG and MRI carry different patient identifiers")  # fmt: skip
    add("--model", metavar="FILE", type=Path, help="model file (default: the reference model)")
    add("--provider", metavar="NAME", default="auto",
        help="what to compute on: auto, tensorrt, tensorrt-rtx, cuda, openvino, cpu "
        "(default: auto, the first that can run here and was verified; on a CPU that is cpu, the "
        "fastest for one study)")  # fmt: skip
    add("--precision", metavar="NAME", default="auto",
        help="fp32, fp16, bf16 or auto (default: auto)")  # fmt: skip
    add("--providers", action="store_true",
        help="say which providers can run the model here, and why others cannot")  # fmt: skip
    add("--threads", metavar="N", type=int, help="cores to compute on (default: all it may use)")
    add("--only", metavar="NAMES", default="",
        help="write only some of page,seg,sr,nifti,json,csv,overlay,bullseye,pdf,dicom-pdf,fhir,"
        "hl7; or all (default: all but the last four)")  # fmt: skip
    add("--overwrite", action="store_true", help="replace the results in an existing OUT")
    add("--demo", action="store_true",
        help="run on the bundled synthetic study and ECG instead of STUDY and ECG")  # fmt: skip
    add_web_options(arguments)
    loudness = arguments.add_mutually_exclusive_group()
    loudness.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
    loudness.add_argument("-v", "--verbose", action="store_true", help="print stage timings too")
    add("--version", action="version", version=f"%(prog)s {__version__}")
    return arguments


def add_web_options(arguments: argparse.ArgumentParser) -> None:
    """Add what only matters where STUDY or ECG is an address."""
    web = arguments.add_argument_group("where STUDY or ECG is an address (extra dicomweb)")
    add = web.add_argument
    add("--token-file", metavar="FILE", type=Path, help="file with a bearer token")
    add("--login-file", metavar="FILE", type=Path, help="file with user:password")
    add("--ca-file", metavar="FILE", type=Path,
        help="authority that signs the server's certificate (default: the system's)")  # fmt: skip
    add("--client-certificate", metavar="FILE", type=Path, help="shown to the server")
    add("--client-key", metavar="FILE", type=Path, help="of the client certificate, no password")
    add("--web-timeout", metavar="S", type=float,
        help="seconds of silence after which the server is given up (default: 60)")  # fmt: skip


def _place(text: str) -> str | Path:
    """An address as it is, everything else as a path."""
    return text if text.lower().startswith(("http://", "https://")) else Path(text)


@contextmanager
def _inputs(arguments: argparse.Namespace) -> Iterator[tuple[Any, Any]]:
    """Study and ECG, fetched where they are addresses."""
    if not any(isinstance(place, str) for place in (arguments.study, arguments.ecg)):
        yield arguments.study, arguments.ecg
        return
    from scarseg_infer.dicomweb.extra import check_installed

    check_installed()
    from scarseg_infer.dicomweb.inputs import fetched

    with fetched(arguments.study, arguments.ecg, arguments) as found:
        yield found


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = parser().parse_args(argv)
    sigterm = Sigterm()
    try:
        with sigterm.taken():
            if arguments.providers:
                _list_providers(arguments)
            elif arguments.list_series:
                _list_series(arguments)
            else:
                _segment(arguments)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - one line, whatever it is
        return _ended(error, terminated=sigterm.came)
    return 0


def _ended(error: BaseException, *, terminated: bool) -> int:
    """Say in one line why; returns the exit code."""
    if terminated:  # first: an import that it breaks off may make another error of it
        why, code = "stopped; nothing is left half written.", TERMINATED
    elif isinstance(error, KeyboardInterrupt):
        why, code = "interrupted; nothing is left half written.", INTERRUPTED
    elif isinstance(error, ScarsegError):
        why, code = str(error), error.exit_code
    else:  # no traceback, it may quote a header
        from scarseg_infer.host.crash_place import crash_place

        place, code = crash_place(error), 1
        why = f"internal error, {place}. Please report it with the version and the command."
    print(f"scarseg-infer: {why}", file=sys.stderr)
    return code


def run() -> None:
    """Entry point of the console script."""
    code = run_console("scarseg-infer", main)
    if code in (INTERRUPTED, TERMINATED):
        # Not by way of Python's end, which waits for the thread that loads the model: where an
        # import was broken off, that may wait for the import's lock for ever.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _segment(arguments: argparse.Namespace) -> None:
    if arguments.demo:
        if arguments.study is not None:
            raise UsageError("--demo brings its own study", "Leave out STUDY and ECG")
        from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY

        arguments.study, arguments.ecg = DEMO_STUDY, DEMO_ECG
        arguments.out = arguments.out or DEMO_OUT
        arguments.overwrite = True
    elif arguments.study is None:
        raise UsageError("no study was given", "Name a DICOM folder, zip or NIfTI file, or --demo")
    from scarseg_runtime.log import warnings_on_stderr

    with warnings_on_stderr():
        _segment_study(arguments, arguments.out or DEFAULT_OUT)


def _list_providers(arguments: argparse.Namespace) -> None:
    """One line a provider and precision; imports nothing heavy."""
    from scarseg_infer.models import model_path
    from scarseg_runtime.model_file.read import with_half_variant
    from scarseg_runtime.providers.registry import candidates, preferred

    with model_path(arguments.model) as path:
        found = candidates(with_half_variant(path))
    one, many = preferred(found, once=True), preferred(found)
    for candidate in found:
        state = candidate.reason or "can run"
        if one is many is candidate:
            state = "auto"
        elif candidate in (one, many):
            state = f"auto for {'one study' if candidate is one else 'many studies'}"
        print(f"{candidate.provider.name:13} {candidate.precision:5} {state}")


def _list_series(arguments: argparse.Namespace) -> None:
    """One line a series; the chosen one is marked."""
    from scarseg_infer.study.read import list_series

    if arguments.study is None:
        raise UsageError("no study was given", "Name a DICOM folder or a zip of one")
    arguments.ecg = arguments.ecg or Path()  # none is looked for
    with _inputs(arguments) as (study, _):
        verdicts = list_series(study, arguments.prefer)
    for verdict in verdicts:
        print(
            f"{'*' if verdict.chosen else ' '} {verdict.number:3}  {verdict.slices:3} slices  "
            f"{verdict.orientation:18} {verdict.kind:12} {verdict.description!r}: {verdict.reason}"
        )


def _segment_study(arguments: argparse.Namespace, out: Path) -> None:
    from scarseg_infer.host.import_pydicom import import_pydicom
    from scarseg_infer.segmenter import Segmenter
    from scarseg_infer.study.read import is_nifti
    from scarseg_infer.write.folder import check_only, check_out
    from scarseg_infer.write.summary import summary_lines, timing_lines
    from scarseg_runtime.console import results_are_there

    only = [name for name in arguments.only.split(",") if name]
    check_only(only)
    if arguments.threads is not None and arguments.threads < 1:
        raise UsageError("--threads must be 1 or more", "Leave it out to use all cores")
    check_out(out, overwrite=arguments.overwrite)
    segmenter = Segmenter.from_model(
        arguments.model, provider=arguments.provider, precision=arguments.precision,
        threads=arguments.threads, background=True, once=True,
    )  # fmt: skip
    with _inputs(arguments) as (study, ecg):
        if isinstance(study, Path) and not is_nifti(study):
            import_pydicom()  # while the model loads
        result = segmenter.run(
            study, ecg, gap_days=arguments.gap_days,
            series=arguments.series, prefer=arguments.prefer,
            allow_identity_mismatch=arguments.allow_identity_mismatch,
        )  # fmt: skip
    paths = result.write(out, overwrite=arguments.overwrite, only=only)
    results_are_there()
    if arguments.quiet:
        return
    for warning in result.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    lines = summary_lines(result)
    if arguments.verbose:
        lines += timing_lines(result)
    print("\n".join(lines + [str(path) for path in paths.values()]))


if __name__ == "__main__":
    run()
