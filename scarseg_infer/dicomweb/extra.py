"""The extra ``dicomweb``: what it brings, asked for before any of it is imported."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from scarseg_runtime.errors import UsageError
from scarseg_runtime.install import install_command

_PACKAGES: Final = ("dicomweb_client", "requests", "urllib3", "python_multipart")


def check_installed() -> None:
    """Check that DICOMweb can be spoken. Raises UsageError, which says how to install it."""
    if missing := next((name for name in _PACKAGES if find_spec(name) is None), None):
        raise UsageError(
            f"DICOMweb needs the package {missing}, which is not installed",
            f"Install it with: {install_command('dicomweb')}",
        )
