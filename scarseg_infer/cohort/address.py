"""Asking a running Ray cluster, in seconds, whether it will have us, and how to say who we are."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from typing import Final

from scarseg_runtime.errors import ProviderError, UsageError

_REACH_S: Final = 5.0
_ASK_S: Final = 90.0
_ADDRESS: Final = re.compile(r"\[?([^\[\]/]+)\]?:([0-9]{1,5})")
_AUTHENTICATION: Final = "uthentication"


def reached(address: str) -> str:
    """The address, once somebody listens there: Ray itself would try for most of an hour.

    Raises:
        UsageError: it is no address.
        ProviderError: nobody listens.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or address
    if address == "auto":
        return address  # Ray looks for its processes on this machine
    parts = _ADDRESS.fullmatch(address)
    if parts is None or int(parts[2]) > 65535:
        raise UsageError("the address is not HOST:PORT", "Give what ray start says, or auto")
    try:
        socket.create_connection((parts[1], int(parts[2])), timeout=_REACH_S).close()
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ProviderError(
            f"nothing answers at the address of the Ray cluster ({why})",
            "Check --address, the network, and that ray start --head ran there",
        ) from error
    return address


def authentication(address: str) -> dict[str, str]:
    """Variables with which the cluster takes us. Ray's own init does not send a token to an
    address, though a head that was started where one lies demands it; and a process that sends
    tokens cannot work with a cluster that has none, so the cluster is asked.

    Raises:
        ProviderError: it does not; the message is what Ray said.
    """
    given = os.environ.get("RAY_AUTH_MODE")
    said = ""
    for mode in (given,) if given else ("disabled", "token"):
        refusal = _refusal(address, mode)
        if not refusal:
            return {"RAY_AUTH_MODE": mode}
        said += refusal
        if _AUTHENTICATION not in refusal:
            break
    if _AUTHENTICATION in said:
        raise ProviderError(
            "the Ray cluster wants an authentication token, or another one",
            "Give its token in RAY_AUTH_TOKEN or ~/.ray/auth_token, see SECURITY.md",
        )
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    raise ProviderError(
        f"the Ray cluster does not answer as one ({lines[-1][:300].rstrip('.')})",
        "Check --address, and that Ray and Python are the same there as here",
    )


def _refusal(address: str, mode: str) -> str:
    """Ray's words where the cluster does not talk to us, "" if it does. In another process: Ray
    settles how it authenticates when it is imported, and crashes where a token is missing."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        asked = subprocess.run(
            command, env=os.environ | {"RAY_AUTH_MODE": mode}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="replace", timeout=_ASK_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no answer in {_ASK_S:.0f} seconds"
    if asked.returncode == 0:
        return ""
    return asked.stderr if asked.stderr.strip() else f"exit code {asked.returncode}"
