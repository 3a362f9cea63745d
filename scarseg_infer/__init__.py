"""Myocardial scar from LGE MRI and a 12-lead ECG. Research use only, not a medical device.

>>> from scarseg_infer import Segmenter
>>> result = Segmenter.from_model().run("study/", "ecg.dat", gap_days=3)
>>> result.write("out/")
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

_LINE = re.compile(r"^from (\S+) import (\w+) as \2$", re.M)
_STUB = __spec__.loader.get_data(f"{__path__[0]}/__init__.pyi").decode("ascii")  # in a zip, too
_MODULES = {name: module for module, name in _LINE.findall(_STUB)}
"""Public names, by module. They stand once, in the stub, and are imported when they are asked for:
``--help`` and ``--providers`` do not wait for numpy."""

__all__ = sorted(_MODULES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "Segmenter":
        # Not in the middle of a host's first run: it brings packages that change warning filters
        # and try a socket when they are imported.
        import_module("pydicom")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
