"""The node from end to end: what comes in by C-STORE comes back as results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def node_and_archive(node_factory: ModuleType, tmp_path: Path) -> Iterator[tuple[Any, Any]]:
    archive = node_factory.Archive(*node_factory.free_ports(1))
    node = node_factory.make_node(tmp_path, [node_factory.peer_table(archive.port)])
    archive.start()
    node.start()
    yield node, archive
    if node.process.poll() is None:
        node.kill()
    archive.stop()


def test_study_goes_in_and_results_come_back(
    node_factory: ModuleType, node_and_archive: tuple[Any, Any]
) -> None:
    node, archive = node_and_archive
    study = node_factory.demo_study()
    assert node_factory.send(node.port, study) == [0] * len(study)
    node_factory.wait_for(lambda: len(archive.objects) == 2)
    (found,) = archive.by_study().items()
    assert found[0] == study[0].StudyInstanceUID
    assert {modality: len(uids) for modality, uids in found[1].items()} == {"SEG": 1, "SR": 1}
    assert node.get("/healthz") == (200, "ok\n")
    assert node.stop() == 0
