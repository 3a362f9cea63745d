"""Processor time of the machine's cores and of processes, as Linux tells it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
_COUNTED: Final = (0, 1, 2, 5, 6, 7)
"""Columns of /proc/stat after the name: user, nice, system, irq, softirq, steal. Not idle and not
waiting for disks; guest time is in user's."""
_GROUP, _TIMES = 2, slice(11, 15)
"""Fields of /proc/PID/stat after the name: process group; user and system time, of the process and
of its children that have ended."""


def busy_s(proc: Path = PROC) -> float | None:
    """Processor time that anything took so far on the cores that this process may use; None outside
    Linux."""
    try:
        lines = (proc / "stat").read_text(encoding="ascii").splitlines()
        cores = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        rows = [line.split() for line in lines if line.split()[0] in cores]
    except (OSError, AttributeError, IndexError):
        return None
    ticks = sum(int(row[1 + column]) for row in rows for column in _COUNTED)
    return ticks / _ticks_per_s() if rows else None


def group_cpu_s(group: int, proc: Path = PROC) -> float | None:
    """Processor time of a process group so far; None outside Linux."""
    if not (proc / "self").exists():
        return None
    total = 0
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError, ValueError, IndexError):  # it ended meanwhile
            # The name, in brackets, may hold blanks and brackets of its own.
            fields = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            if int(fields[_GROUP]) == group:
                total += sum(map(int, fields[_TIMES]))
    return total / _ticks_per_s()


def ended_children_s() -> float:
    """Processor time of our children that have ended."""
    used = os.times()
    return used.children_user + used.children_system


def _ticks_per_s() -> int:
    return os.sysconf("SC_CLK_TCK")
