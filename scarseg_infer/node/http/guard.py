"""Guard of HTTP: answers go to programs that mean this machine, and no web page of anybody else.

No password protects the node's HTTP. What does is that it listens on loopback, where a browser
of this machine is the one program that others can make ask: a page may send requests (Origin)
or have its own name point here (Host, known as DNS rebinding).
"""

from __future__ import annotations

import re
from email.message import Message
from ipaddress import ip_address
from typing import Final, Literal

from scarseg_infer.node.http.answer import Answer, problem

Names = Literal["loopback", "address", "any"]
"""``loopback``: localhost and addresses of it. ``address``: any address too, as none can be made to
point elsewhere, and other machines may know us by one that we do not."""

_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]\s]+))(?::[0-9]{1,5})?")


def refusal(headers: Message, host_required: bool, names: Names) -> Answer | None:
    """Answer that refuses this request; None where it is.

    Args:
        host_required: by the version of HTTP (RFC 9112, 3.2). Browsers always send it.
        names: by which we may be called.
    """
    hosts = headers.get_all("Host", [])
    if len(hosts) > 1 or (host_required and not hosts):
        return problem(400, "Send Host once.")
    if hosts and names != "any" and not _ours(hosts[0], names):
        return problem(421, "Ask by the address of this machine, or as localhost on it.")
    if any(not hosts or origin != f"http://{hosts[0]}" for origin in headers.get_all("Origin", [])):
        return problem(403, "Web pages of others are not answered.")
    return None


def _ours(host: str, names: Names) -> bool:
    found = _HOST.fullmatch(host)
    if not found:
        return False
    name = found[1] or found[2]
    try:
        address = ip_address(name)
    except ValueError:
        return name.lower() == "localhost"
    return names == "address" or address.is_loopback
