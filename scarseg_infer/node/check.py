"""``scarseg-node --check``: what the start would find wrong beyond the values of the file.

Nothing is kept, locked or listened on: it can be asked while a node runs with the same file.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from scarseg_infer.models import model_path
from scarseg_infer.node.config import Config
from scarseg_runtime.errors import UsageError
from scarseg_runtime.model_file.read import with_half_variant
from scarseg_runtime.providers.registry import candidates, choose


def check_start(config: Config) -> str:
    """Provider that the model would run on, as ``provider precision``.

    Raises:
        ModelError: the model file is missing, damaged or odd.
        ProviderError: the provider is not installed or cannot run here.
        UsageError: the data folder cannot be made or written.
    """
    _check_data(config.node.data)
    chosen = config.model
    with model_path(chosen.file) as path:
        found = choose(candidates(with_half_variant(path)), chosen.provider, chosen.precision)
    return f"{found.provider.name} {found.precision}"


def _check_data(folder: Path) -> None:
    """Check that the folder is there and writable, or can be made, by making another in its place:
    rights alone tell nothing on Windows, on a network share or of the superuser."""
    there = folder
    try:
        while not there.exists() and there != there.parent:
            there = there.parent
        with TemporaryDirectory(prefix="check-", dir=there):
            pass
    except OSError as error:
        raise UsageError(
            f"node.data cannot be used ({error.strerror})", "Check who may write there"
        ) from error
