"""SIGTERM while Ray waits for an answer, where a run spends most of its time."""

from __future__ import annotations

import subprocess
import sys

import pytest

WAITING = """
import os, signal, threading, time
from scarseg_infer.cohort.cluster import connected
from scarseg_infer.host.stop import Sigterm

def outside(*_):
    print("outside", flush=True)

signal.signal(signal.SIGTERM, outside)
outer, told = Sigterm(), []
with outer.taken(), connected(None, 1, 1):
    import ray
    reference = ray.remote(lambda: time.sleep(3600)).remote()
    for number in range(20):  # before Ray's C++ is entered, amid it, between two calls
        sender = threading.Timer(0.1 + 0.003 * number, os.kill, (os.getpid(), signal.SIGTERM))
        try:
            sender.start()
            for _ in range(200):
                ray.wait([reference], timeout=0.05)
        except KeyboardInterrupt:
            told.append(outer.came)
        outer.came = False
print(*told, flush=True)
os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.slow
@pytest.mark.serial
def test_sigterm_comes_out_of_ray_as_what_it_is() -> None:
    run = subprocess.run(
        [sys.executable, "-c", WAITING], capture_output=True, text=True, check=False, timeout=300
    )
    # And what handled the signal before does so again.
    assert (run.stdout.split(), run.returncode) == (["True"] * 20 + ["outside"], 0), run.stderr
