"""Client of the tests of the MRD server: the protocol's own Python package.

The twin study is sent as a scanner would. Geometry is worked out of the DICOM headers
here, not by code of ours.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import ismrmrd
import numpy as np
import pydicom
from ismrmrd import ConfigFile, ProtocolDeserializer, ProtocolSerializer
from ismrmrd.xsd import CreateFromDocument

from scarseg_infer.demo import DEMO_STUDY

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 180.0
HEADER = """<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
  <subjectInformation><patientName>SECRET^NAME</patientName><patientID>{patient}</patientID>
  </subjectInformation>
  <studyInformation><studyDate>2024-03-04</studyDate><studyTime>10:30:00</studyTime>
  </studyInformation>
  <measurementInformation><patientPosition>HFS</patientPosition>
    <protocolName>{protocol}</protocolName></measurementInformation>
  <experimentalConditions><H1resonanceFrequency_Hz>63500000</H1resonanceFrequency_Hz>
  </experimentalConditions>
  <sequenceParameters><TR>700</TR><TE>1.5</TE><TI>300</TI></sequenceParameters>
</ismrmrdHeader>"""
"""Of one measurement: patient SECRET must stand in no log."""


def _ports() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ports", ROOT / "tests" / "ports.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


free_ports: Callable[[int], list[int]] = _ports().free_ports


def header(patient: str = "TWIN-55", protocol: str = "LGE PSIR short axis") -> Any:
    """An MRD header of the package, from XML that its schema takes."""
    return CreateFromDocument(HEADER.format(patient=patient, protocol=protocol))


def twin_datasets() -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted(DEMO_STUDY.glob("*.dcm"))]


def mrd_image(
    dataset: pydicom.Dataset, *, series: int = 1, name: str = "", pixels: Any = None,
    image_type: int = ismrmrd.IMTYPE_REAL, **fields: Any,
) -> ismrmrd.Image:  # fmt: skip
    """An image as a scanner would send what became this DICOM image."""
    values = dataset.pixel_array if pixels is None else pixels
    image = ismrmrd.Image.from_array(np.ascontiguousarray(values))
    row, column = np.split(np.array(dataset.ImageOrientationPatient, float), 2)
    row_mm, column_mm = map(float, dataset.PixelSpacing)
    rows, columns = dataset.Rows, dataset.Columns
    first = np.array(dataset.ImagePositionPatient, float)
    # Middle of the four corner voxels' centres, as it is of the field of view.
    last = first + row * column_mm * (columns - 1) + column * row_mm * (rows - 1)
    head = image.getHead()
    head.position = tuple((first + last) / 2)
    head.read_dir, head.phase_dir = tuple(row), tuple(column)
    head.slice_dir = tuple(np.cross(row, column))
    head.field_of_view = (columns * column_mm, rows * row_mm, float(dataset.SliceThickness))
    head.image_type, head.image_series_index = image_type, series
    clock = str(dataset.AcquisitionTime)
    seconds = 3600 * int(clock[:2]) + 60 * int(clock[2:4]) + float(clock[4:])
    head.acquisition_time_stamp = round(seconds * 1000 / 2.5)
    for key, value in fields.items():
        setattr(head, key, value)
    image.setHead(head)
    if name:
        image.meta = ismrmrd.Meta(SeriesDescription=name, ImageType=["NORM", "DIS2D"])
    return image


def twin_images(**options: Any) -> list[ismrmrd.Image]:
    """The twin study, a slice an image."""
    return [
        mrd_image(dataset, image_index=number, **options)
        for number, dataset in enumerate(twin_datasets(), start=1)
    ]


def other_series(series: int = 2) -> list[ismrmrd.Image]:
    """A cine of the same slices: three phases of each."""
    return [
        mrd_image(
            dataset,
            series=series,
            name="cine short axis",
            phase=phase,
            image_type=ismrmrd.IMTYPE_MAGNITUDE,
            physiology_time_stamp=(phase * 40, 0, 0),
            pixels=dataset.pixel_array[::-1],
        )
        for dataset in twin_datasets()
        for phase in range(3)
    ]


def options_text(**parameters: Any) -> str:
    """Options as OpenRecon sends them."""
    return json.dumps({"version": "1.1.0", "parameters": parameters})


@dataclass
class Answer:
    """Items that came back, in order."""

    items: list[Any] = field(default_factory=list)
    closed: bool = False

    @property
    def images(self) -> list[ismrmrd.Image]:
        return [item for item in self.items if isinstance(item, ismrmrd.Image)]

    @property
    def text(self) -> str:
        return "\n".join(item.rstrip("\0") for item in self.items if isinstance(item, str))

    def made(self, name: str) -> list[ismrmrd.Image]:
        """Images that we made, by the name of their series."""
        return [one for one in self.images if name in one.meta.get("ImageProcessingHistory", ())]


class Client:
    """A client over TCP. What comes is read while it sends, as scanners do."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), WAIT_S)
        self.socket.settimeout(WAIT_S)
        self._out = self.socket.makefile("wb")
        self._serializer = ProtocolSerializer(self._out)
        self.answer = Answer()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, *items: Any) -> None:
        for item in items:
            self._serializer.serialize(item)
        self._out.flush()

    def send_bytes(self, data: bytes) -> None:
        self._out.write(data)
        self._out.flush()

    def finish(self) -> Answer:
        """Say that there is no more, and wait for the end of the answer."""
        self._serializer.close()
        return self.wait()

    def wait(self) -> Answer:
        self._reader.join(WAIT_S)
        assert not self._reader.is_alive(), "the server does not end its answer"
        self.cut()
        return self.answer

    def cut(self) -> None:
        """End the connection as it stands."""
        shut = partial(self.socket.shutdown, socket.SHUT_RDWR)  # the reader holds it open, too
        for end in (shut, self._out.close, self.socket.close):
            with suppress(OSError):
                end()

    def _read(self) -> None:
        try:
            with self.socket.makefile("rb") as stream:
                for item in ProtocolDeserializer(stream).deserialize():
                    self.answer.items.append(item)
                self.answer.closed = True
        except (EOFError, OSError, ValueError):
            return


def exchange(
    port: int, images: Iterable[Any], *, head: Any = None, options: dict[str, Any] | None = None,
) -> Answer:  # fmt: skip
    """A whole session."""
    client = Client(port)
    client.send(ConfigFile("openrecon"))
    if head is not None:
        client.send(head)
    if options is not None:
        client.send(options_text(**options))
    client.send(*images)
    return client.finish()


@dataclass
class Server:
    """A server in a process of its own."""

    folder: Path
    port: int
    arguments: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def start(self) -> None:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "runtime")]),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "scarseg_infer.mrd.main", "--port", str(self.port),
                   "--provider", "cpu", "--threads", "1", *self.arguments]  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            self.wait_for(lambda: self.events("started"))
        except BaseException:
            self.process.kill()
            raise

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = self.log.read_bytes().split(b"\n")[:-1]  # the last is still being written
        found = [json.loads(line) for line in lines if line.startswith(b"{")]
        return [event for event in found if event["event"] == name]

    def wait_for(self, what: Callable[[], Any]) -> Any:
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            if answer := what():
                return answer
            time.sleep(0.05)
        raise AssertionError(f"it did not happen in time: {self.log.read_text()[-3000:]}")


def make_server(folder: Path, *arguments: str) -> Server:
    folder.mkdir(parents=True, exist_ok=True)
    return Server(folder, *free_ports(1), arguments)
