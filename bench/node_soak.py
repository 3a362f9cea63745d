"""Promises of the DICOM node, tried for long: kills at random points, and many studies.

    python bench/node_soak.py kills --kills 30     # kill -9 again and again while studies come
    python bench/node_soak.py soak --studies 200   # several senders at once, memory over time

Prints one JSON object; exit code 1 where a promise was broken: an object lost, results doubled,
memory that grows, or studies that are not done in the end.

Each study is a step of an examination that ends when all of the study and its ECG is acknowledged.
So the node never has a reason to make results of a study twice, whatever it was killed at.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

FLAT_MB_PER_100 = 5.0
"""More than this is growth; a study holds 1 MB of pixels, so keeping any would show."""
OBJECTS = ("SEG", "SR")
"""Modalities of what is made of a study: one of each, see above."""
ALREADY = {"IN PROGRESS": 0x0111, "COMPLETED": 0x0110}
"""Answers to what was told before (PS3.4, F.7.2), when the acknowledgement was lost."""
STUDY_S = 10.0
"""Far more than a study takes, for the deadline of the whole."""
TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS / "node"), str(TESTS / "infer")]


class Senders:
    """Threads that push studies and send again what was not acknowledged, until all is.

    Args:
        port: of the node.
        studies: how many studies all threads send together.
        threads: how many send at a time.
        pause_s: at most, between two studies of a sender.
    """

    def __init__(self, port: int, studies: int, threads: int, pause_s: float = 0.0) -> None:
        self._port, self._left = port, list(range(studies))
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self.acknowledged: dict[str, str] = {}
        """SHA-256 of the pixels or waveform of each acknowledged object, by its UID."""
        self.studies: list[str] = []
        self.odd_answers: list[str] = []
        self.resent = 0
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def running(self) -> bool:
        """Is there something that was not acknowledged yet?"""
        return any(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        """Wait for the end."""
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._left:
                    return
                number = self._left.pop()
            self._push(number)
            time.sleep(random.uniform(0, self._pause_s))

    def _push(self, number: int) -> None:
        import ecg_factory
        import node_factory

        objects = node_factory.demo_study(f"SOAK-{number}")
        study, step = str(objects[0].StudyInstanceUID), node_factory.generate_uid()
        self.studies.append(study)
        self._tell(step, study, "IN PROGRESS")
        if number % 2:
            objects.append(node_factory.demo_ecg(ecg_factory, f"SOAK-{number}"))
        while objects:
            statuses = node_factory.send(self._port, objects, answer_s=2)
            for item, status in zip(objects, statuses, strict=True):
                if status == 0:
                    self.acknowledged[str(item.SOPInstanceUID)] = _content(item)
            objects = [o for o, status in zip(objects, statuses, strict=True) if status != 0]
            self.resent += len(objects)
            if objects:
                time.sleep(0.05)
        self._tell(step, study, "COMPLETED")

    def _tell(self, step: str, study: str, state: str) -> None:
        import node_factory

        status = None
        while status is None:
            status = node_factory.report_step(self._port, step, study, state, answer_s=2)
            if status is None:
                time.sleep(0.05)
        # A step that was acknowledged and is lost is unknown when it ends.
        if status not in (0, ALREADY[state]):
            self.odd_answers.append(f"{state} was answered with 0x{status:04X}")


def _content(dataset: Any) -> str:
    if "PixelData" in dataset:
        return hashlib.sha256(dataset.PixelData).hexdigest()
    return hashlib.sha256(dataset.WaveformSequence[0].WaveformData).hexdigest()


def broken_promises(node: Any, archive: Any, senders: Senders) -> list[str]:
    """List what was promised and did not come true; the node must have sent everything."""
    import pydicom

    found = list(senders.odd_answers)
    kept = dict(node.rows("SELECT sop_uid, file FROM objects"))
    lost = [uid for uid in senders.acknowledged if uid not in kept]
    if lost:
        found.append(f"{len(lost)} acknowledged objects are not in the queue")
    for uid, content in senders.acknowledged.items():
        path = node.folder / "data" / kept.get(uid, "missing")
        if not path.is_file() or _content(pydicom.dcmread(path)) != content:
            found.append("an acknowledged object is not whole on the disk")
    made = {row[0] for row in node.rows("SELECT sop_uid FROM results")}
    if strangers := {str(o.SOPInstanceUID) for o in archive.objects} - made:
        found.append(f"{len(strangers)} objects were sent that are not in the queue")
    sent = archive.by_study()
    for study in senders.studies:
        for modality in OBJECTS:
            uids = sent.get(study, {}).get(modality, set())
            if len(uids) != 1:
                found.append(f"{len(uids)} {modality} of a study, not one")
    again = node.rows("SELECT COUNT(*) FROM studies WHERE images > 0 AND revision != 1")[0][0]
    if again:
        found.append(f"results of {again} studies were not made once")
    same = node.rows("SELECT COUNT(*) FROM studies WHERE images > 0 AND state != 'done'")[0][0]
    if same:
        found.append(f"{same} studies are not done")
    return found


def finished(node: Any, studies: int) -> bool:
    """Are all studies done and their results sent?"""
    done = node.rows("SELECT COUNT(*) FROM studies WHERE state = 'done'")[0][0]
    waiting = node.rows(
        "SELECT COUNT(*) FROM deliveries WHERE state NOT IN ('sent', 'superseded')"
    )[0][0]
    return bool(done >= studies and waiting == 0)


def kill_loop(
    folder: Path, kills: int, studies: int, seed: int, longest_s: float = 4.0
) -> dict[str, Any]:
    """Kill the node at random points while studies come in and results go out; the last kill comes
    when all is done: then nothing may be made or sent again.

    Args:
        longest_s: see :func:`_wait_for_a_moment`.
    """
    import node_factory

    chance = random.Random(seed)
    archive = node_factory.Archive(*node_factory.free_ports(1))
    archive.start()
    node = node_factory.make_node(
        folder, [node_factory.peer_table(archive.port)], study="quiet_s = 0.8\nattempts = 1000"
    )
    node.start()
    start = time.monotonic()
    senders = Senders(node.port, studies, 2, pause_s=2.0 if kills > 10 else 0.0)
    during: Counter[str] = Counter()
    for _ in range(kills - 1):
        _wait_for_a_moment(chance, node, senders, longest_s)
        node.kill()
        during.update(_interrupted(node))
        node.start(wait=False)
    senders.join()
    node_factory.wait_for(lambda: finished(node, studies), 60 + STUDY_S * studies)
    node.kill()
    node.start()
    node_factory.wait_for(lambda: finished(node, studies), 60 + STUDY_S * studies)
    problems = broken_promises(node, archive, senders)
    twice = Counter(str(item.SOPInstanceUID) for item in archive.objects)
    revisions = node.rows("SELECT revision FROM studies WHERE images > 0")
    report = {
        "kills": kills, "killed_while": dict(during), "studies": studies, "seed": seed,
        "acknowledged": len(senders.acknowledged), "sent_again_by_callers": senders.resent,
        "objects_expected_at_peer": len(OBJECTS) * studies, "objects_at_peer": len(twice),
        "repeated_with_same_uid": sum(twice.values()) - len(twice),
        "restarts": len(node.events("recovered")) - 1,
        "leftovers_removed": sum(e["leftovers"] for e in node.events("recovered")),
        "revisions": Counter(revision for (revision,) in revisions),
        "seconds": round(time.monotonic() - start, 1), "broken": problems,
    }  # fmt: skip
    node.stop()
    archive.stop()
    return report


def _wait_for_a_moment(
    chance: random.Random, node: Any, senders: Senders, longest_s: float
) -> None:
    """Until a kill: half of them hit while objects come in, a few the start of the node, and the
    others come at any time up to ``longest_s`` after it listens."""
    import node_factory

    kind = chance.random()
    if kind > 0.15:
        node_factory.wait_for(node.listening)
    if kind > 0.5 and senders.running():
        before = len(senders.acknowledged)
        node_factory.wait_for(lambda: len(senders.acknowledged) > before or not senders.running())
        time.sleep(chance.uniform(0.0, 0.2))
    else:
        time.sleep(chance.uniform(0.0, longest_s))


def _interrupted(node: Any) -> list[str]:
    """List what a node was in the middle of when it was killed."""
    data = node.folder / "data"
    found = {
        "receiving": any((data / "incoming").iterdir()),
        "processing": any((data / "work").iterdir()),
        "sending": node.rows("SELECT COUNT(*) FROM deliveries WHERE state = 'pending'")[0][0] > 0,
        "study open": node.rows("SELECT COUNT(*) FROM studies WHERE state = 'open'")[0][0] > 0,
    }
    return [name for name, was in found.items() if was]


def soak(folder: Path, studies: int, threads: int) -> dict[str, Any]:
    """Push many studies from several senders at once and watch the memory of the node."""
    import node_factory

    archive = node_factory.Archive(*node_factory.free_ports(1))
    archive.start()
    node = node_factory.make_node(
        folder, [node_factory.peer_table(archive.port)], study="quiet_s = 3.0"
    )
    node.start()
    start = time.monotonic()
    senders = Senders(node.port, studies, threads)
    memory: list[tuple[int, float]] = []
    while not finished(node, studies) and time.monotonic() < start + 60 + STUDY_S * studies:
        done = node.rows("SELECT COUNT(*) FROM studies WHERE state = 'done'")[0][0]
        memory.append((done, _resident_mb(node.process.pid)))
        time.sleep(1.0)
    seconds = time.monotonic() - start
    later = np.array([m for m in memory if m[0] >= studies // 4])
    slope = float(np.polyfit(later[:, 0], later[:, 1], 1)[0]) if len(later) > 2 else float("nan")
    broken = broken_promises(node, archive, senders)
    if not 100 * slope < FLAT_MB_PER_100:
        broken.append("memory grows")
    report = {
        "studies": studies, "senders": threads, "seconds": round(seconds, 1),
        "studies_per_minute": round(60 * studies / seconds, 1),
        "peak_mb": round(max(m for _, m in memory), 1),
        "mb_per_100_studies_after_first_quarter": round(100 * slope, 2),
        "open_files_at_end": len(list(Path(f"/proc/{node.process.pid}/fd").iterdir())),
        "objects_expected_at_peer": len(OBJECTS) * studies,
        "objects_at_peer": len({str(item.SOPInstanceUID) for item in archive.objects}),
        "threads_died": len(node.events("thread_died")),
        "broken": broken,
    }  # fmt: skip
    node.stop()
    archive.stop()
    return report


def _resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def main() -> int:
    """Run the command line."""
    top = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    top.add_argument("what", choices=("kills", "soak"))
    top.add_argument("--kills", type=int, default=30)
    top.add_argument("--studies", type=int, help="default: twice the kills; 200 for soak")
    top.add_argument("--senders", type=int, default=4)
    top.add_argument("--seed", type=int, default=1)
    options = top.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.what == "kills":
            report = kill_loop(
                Path(folder), options.kills, options.studies or 2 * options.kills, options.seed
            )
        else:
            report = soak(Path(folder), options.studies or 200, options.senders)
    print(json.dumps(report, indent=1))
    return 1 if report["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
