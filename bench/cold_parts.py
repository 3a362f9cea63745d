"""Processor time of a cold process on the demo study, part by part, on one thread.

    python bench/cold_parts.py [--provider cpu] [--runs 5]

Every run is a process of its own that does what ``scarseg-infer --demo`` does, one part after the
other. Median and smallest of the runs, in ms.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from statistics import median

ONE = """
import json, sys, tempfile, time
parts, last = {"Python": time.process_time()}, time.process_time()

def done(name):
    global last
    now = time.process_time()
    parts[name], last = parts.get(name, 0.0) + now - last, now

import scarseg_infer.cli
scarseg_infer.cli.parser()
done("command line")
import numpy
done("import numpy")
import scarseg_infer.segmenter
done("import scarseg_infer, without pydicom")
try:
    from scarseg_infer.host.import_pydicom import import_pydicom
    import_pydicom()
except ModuleNotFoundError:  # a version from before
    import pydicom
import scarseg_infer.study.dicom.read
done("import pydicom and what reads by it")
from scarseg_infer import Segmenter, read_ecg, read_study
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY
stack = read_study(DEMO_STUDY)
done("read ten images")
record = read_ecg(DEMO_ECG)
done("read the ECG")
import onnxruntime
done("import onnxruntime")
segmenter = Segmenter.from_model(provider=sys.argv[1], threads=1)
done("load the model")
result = segmenter.run(stack, record)
done("network and quantities, first run")
with tempfile.TemporaryDirectory() as folder:
    for name in ("json", "csv", "nifti", "seg", "sr", "overlay", "bullseye", "page"):
        result.write(f"{folder}/{name}", only=[name])
        done(f"write {name}")
print(json.dumps(parts))
"""


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--provider", default="cpu")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    command = [sys.executable, "-P", "-c", ONE, options.provider]  # not what lies in this folder
    runs = []
    for _ in range(options.runs):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
        runs[-1]["all"] = sum(runs[-1].values())
    print("| part | median, ms | smallest |\n|---|---|---|")
    for part in runs[0]:
        taken = [1000.0 * run[part] for run in runs]
        print(f"| {part} | {median(taken):.0f} | {min(taken):.0f} |")


if __name__ == "__main__":
    main()
