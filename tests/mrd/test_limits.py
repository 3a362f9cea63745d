"""Streams too large, too long, broken or too many end one session, in order, and no other."""

from __future__ import annotations

import io
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import ismrmrd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ismrmrd import ProtocolDeserializer, ProtocolSerializer

LGE = "LGE PSIR short axis"
MB = 1 << 20


def lie(**fields: Any) -> bytes:
    """The first bytes of an image message whose header says so, and nothing behind them."""
    head = ismrmrd.ImageHeader()
    head.data_type, head.channels = 5, 1
    head.matrix_size = (4, 4, 1)
    for name, value in fields.items():
        setattr(head, name, value)
    return struct.pack("<H", 1022) + bytes(head) + struct.pack("<Q", 0)


BROKEN = {
    "unknown type": struct.pack("<H", 1002) + bytes(64),
    "image too large": lie(matrix_size=(60000, 60000, 60000), channels=60000),
    "image of unknown values": lie(data_type=9),
    "text too large": struct.pack("<HI", 5, 0xFFFFFFFF),
    "array too large": struct.pack("<HHHH2Q", 1030, 5, 0, 2, 1 << 40, 1 << 40),
    "array of too many axes": struct.pack("<HHHH", 1030, 5, 0, 60000),
    "acquisition too large": struct.pack("<H", 1008) + b"\xff" * 340,
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_stream_that_breaks_the_rules(server: Any, mrd_factory: ModuleType, name: str) -> None:
    """The client is told, and what it sent before comes back."""
    client = mrd_factory.Client(server.port)
    image = mrd_factory.twin_images(name=LGE)[0]
    client.send(image)
    client.send_bytes(BROKEN[name])
    answer = client.wait()
    assert answer.closed
    assert np.array_equal(answer.images[0].data, image.data)
    assert answer.text.startswith("scarseg-mrd: ")


def test_memory_grows_with_what_comes_not_with_what_is_announced() -> None:
    from scarseg_infer.mrd.messages import StreamError, read_message

    asked: list[int] = []

    def more(buffer: bytearray, count: int) -> None:
        asked.append(count)
        raise StreamError("the end")

    def from_bytes(data: bytes) -> Any:
        stream = io.BytesIO(data)

        def first(buffer: bytearray, count: int) -> None:
            found = stream.read(count)
            buffer += found
            if len(found) < count:
                more(buffer, count)

        return first

    with pytest.raises(StreamError, match="larger than 8 MB"):
        read_message(from_bytes(BROKEN["image too large"]), 8 * MB)
    assert asked == []  # nothing of it was waited for


@given(
    st.lists(st.sampled_from(["image", "text", "array", "waveform", "acquisition"]), max_size=5),
    st.randoms(use_true_random=False),
)
def test_messages_are_cut_as_the_package_cuts_them(kinds: list[str], chance: Any) -> None:
    from scarseg_infer.mrd.messages import Kind, read_message

    rng = np.random.default_rng(chance.randrange(1 << 30))
    made = {
        "image": lambda: ismrmrd.Image.from_array(
            rng.normal(size=rng.integers(1, 5, 4)).astype(rng.choice([np.float32, np.complex64]))
        ),
        "text": lambda: "ä" * int(rng.integers(0, 9)),
        "array": lambda: rng.normal(size=rng.integers(0, 4, 3)),
        "waveform": lambda: ismrmrd.Waveform.from_array(np.ones(rng.integers(1, 9, 2), np.uint32)),
        "acquisition": lambda: ismrmrd.Acquisition.from_array(
            np.ones((2, samples := int(rng.integers(1, 9))), np.complex64),
            np.ones((samples, int(rng.integers(0, 4))), np.float32),
        ),
    }  # fmt: skip
    stream = io.BytesIO()
    serializer = ProtocolSerializer(stream)
    for kind in kinds:
        serializer.serialize(made[kind]())
    serializer.close()
    stream.seek(0)

    def more(buffer: bytearray, count: int) -> None:
        buffer += stream.read(count)

    found = []
    while (message := read_message(more, MB)).kind is not Kind.CLOSE:
        found.append(message)
    assert b"".join(message.raw for message in found) + b"\x04\0" == stream.getvalue()
    again = ProtocolDeserializer(io.BytesIO(stream.getvalue()))
    assert len(list(again.deserialize())) == len(found) == len(kinds)


def test_a_connection_cut_in_the_middle(server: Any, mrd_factory: ModuleType) -> None:
    """No result of half a study; the next session is served."""
    before = len(server.events("session_done"))
    data = io.BytesIO()
    serializer = ProtocolSerializer(data)
    for image in mrd_factory.twin_images(name=LGE):
        serializer.serialize(image)
    for share in (0.1, 0.5, 0.999):
        client = mrd_factory.Client(server.port)
        client.send(mrd_factory.header())
        client.send_bytes(data.getvalue()[: int(share * len(data.getvalue()))])
        broken = len(server.events("session_broken"))
        client.cut()
        server.wait_for(lambda n=broken: len(server.events("session_broken")) > n)
    assert len(server.events("session_done")) == before
    answer = mrd_factory.exchange(server.port, mrd_factory.twin_images(name=LGE)[:3])
    assert len(answer.made("scar_labels")) == 3


def test_a_session_larger_than_allowed(server: Any, mrd_factory: ModuleType) -> None:
    """More than --session-mb is sent back as it came, without a result."""
    big = ismrmrd.Image.from_array(np.zeros((1000, 1000), np.float32))
    answer = mrd_factory.exchange(server.port, [big] * 18, options={"sendoriginal": "false"})
    assert len(answer.images) == 18
    assert "the session is larger than 64 MB" in answer.text


def test_a_client_that_reads_only_at_its_end(server: Any, mrd_factory: ModuleType) -> None:
    """More goes back than sockets hold: the server must not wait for a client that still sends."""
    big = ismrmrd.Image.from_array(np.zeros((1200, 1200), np.float32))
    with socket.create_connection(("127.0.0.1", server.port), 60) as sock:
        with sock.makefile("wb") as out:
            serializer = ProtocolSerializer(out)
            for _ in range(8):
                serializer.serialize(big)
            serializer.close()
        with sock.makefile("rb") as stream:
            items = list(ProtocolDeserializer(stream).deserialize())
    assert sum(isinstance(item, ismrmrd.Image) for item in items) == 8


def test_silence_is_ended_and_the_next_is_served(mrd_factory: ModuleType, tmp_path: Path) -> None:
    """Two sessions at most: a third is told so; silent ones are ended; SIGTERM waits for none."""
    server = mrd_factory.make_server(tmp_path, "--sessions", "2", "--idle-s", "5")
    server.start()
    try:
        silent = [mrd_factory.Client(server.port) for _ in range(2)]
        server.wait_for(lambda: len(server.events("session_started")) == 2)
        third = mrd_factory.Client(server.port).wait()
        assert "as many sessions are under way as may be" in third.text
        for client in silent:
            assert "the client has sent nothing for too long" in client.wait().text
        server.wait_for(lambda: len(server.events("session_ended")) == 2)  # their places are free
        mrd_factory.Client(server.port).send(mrd_factory.header())
        server.wait_for(lambda: len(server.events("session_started")) == 3)
        assert server.stop() == 0
        assert server.events("stopped")
        assert server.events("session_broken")[-1]["reason"] == "the server stops"
    finally:
        server.kill()


def test_two_scanners_at_once(server: Any, mrd_factory: ModuleType, by_dicom: Any) -> None:
    """Messages of both arrive in turns; each gets its own study back."""
    clients = [mrd_factory.Client(server.port) for _ in range(2)]
    studies = [mrd_factory.twin_images(name=LGE), mrd_factory.twin_images(name=LGE, series=7)[::-1]]
    for client in clients:
        client.send(mrd_factory.header())
    for pair in zip(*studies, strict=True):
        for client, image in zip(clients, pair, strict=True):
            client.send(image)
    for client in clients:
        client.send_bytes(b"\x04\0")
    for client, series in zip(clients, (2, 8), strict=True):
        answer = client.wait()
        made = answer.made("scar_labels")
        assert {one.image_series_index for one in made} == {series}
        labels = np.stack([one.data[0, 0] for one in made])
        assert np.array_equal(labels, by_dicom.labels)


@pytest.fixture
def command() -> Iterator[Any]:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "scarseg_infer.mrd.main", *arguments],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def test_start_up(command: Any, server: Any, tmp_path: Path) -> None:
    done = command("--check", "--provider", "cpu", "--ecg", str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "ok: model on cpu fp32\n")
    done = command("--check", "--ecg", str(tmp_path / "SECRET"))
    assert (done.returncode, done.stderr) == (
        2, "scarseg-mrd: --ecg is neither a file nor a folder. Correct its path.\n",
    )  # fmt: skip
    done = command("--check", "--model", str(tmp_path / "none.onnx"))
    assert done.returncode == 5
    done = command("--port", str(server.port), "--provider", "cpu")
    assert done.returncode == 2
    assert f"port {server.port} cannot be listened on" in done.stderr
