"""Two hundred sessions of one server, and twenty kills with a whole session after each."""

from __future__ import annotations

import random
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow

SESSIONS = 200
KILLS = 20


def resident_mb(pid: int) -> float:
    """Memory of a process, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    (line,) = (one for one in lines if one.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def test_two_hundred_sessions(mrd_factory: ModuleType, tmp_path: Path) -> None:
    """Whole, cut and broken ones by chance; memory and threads do not grow with their number."""
    chance = random.Random(1)
    server = mrd_factory.make_server(tmp_path, "--idle-s", "10")
    server.start()
    study = mrd_factory.twin_images(name="LGE PSIR short axis")[3:6]
    wanted: list[Any] = []
    memory = []
    try:
        for number in range(SESSIONS):
            kind = chance.choice(["whole", "whole", "cut", "unknown type", "empty"])
            client = mrd_factory.Client(server.port)
            client.send(mrd_factory.header())
            if kind == "cut":
                client.send(study[0])
                client.cut()
            elif kind == "unknown type":
                client.send_bytes(b"\xea\x03" + bytes(30))
                assert "type 1002" in client.wait().text
            elif kind == "empty":
                assert client.finish().closed
            else:
                client.send(*study)
                made = [one.data.copy() for one in client.finish().made("scar_labels")]
                wanted = wanted or made
                assert len(made) == 3
                assert np.array_equal(made, wanted), number
            if number >= SESSIONS // 4:
                memory.append(resident_mb(server.process.pid))
        server.wait_for(lambda: len(server.events("session_ended")) == SESSIONS)
        threads = len(list(Path(f"/proc/{server.process.pid}/task").iterdir()))
        assert threads < 12  # of a thread or two of each session some would be left
        half = len(memory) // 2
        assert np.median(memory[half:]) < np.median(memory[:half]) + 30
        assert not server.events("session_crashed")
        assert server.stop() == 0
    finally:
        server.kill()


def test_twenty_kills(mrd_factory: ModuleType, tmp_path: Path) -> None:
    """Killed at any moment of a session, the server that starts next answers a whole one.

    After each kill its labels are compared with those of a server that was never killed.
    """
    chance = random.Random(2)
    server = mrd_factory.make_server(tmp_path)
    study = mrd_factory.twin_images(name="LGE PSIR short axis")[3:6]

    def labels() -> list[Any]:
        answer = mrd_factory.exchange(server.port, study, head=mrd_factory.header())
        assert answer.closed
        return [one.data for one in answer.made("scar_labels")]

    server.start()
    try:
        wanted = labels()
        assert len(wanted) == 3
        for number in range(KILLS):
            client = mrd_factory.Client(server.port)
            client.send(mrd_factory.header(), *study[: chance.randrange(4)])
            if chance.random() < 0.5:
                client.send_bytes(b"\x04\0")  # it computes
            server.kill()
            client.cut()
            server.log.unlink()
            server.start()
            assert np.array_equal(labels(), wanted), number
        assert server.stop() == 0
    finally:
        server.kill()
