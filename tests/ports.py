"""TCP ports that belong to one test, whatever other workers and other runs of the tests take."""

from __future__ import annotations

import random
import socket

PORTS = range(20_000, 32_768)
"""Below what systems give to whoever connects (Linux from 32768 on, others from 49152), or a
connection may take a port before the test's server listens; above those of Ray's workers."""

_claims: list[socket.socket] = []


def free_ports(count: int) -> list[int]:
    """Draw ports at which nothing listens and that nobody else gets while this process lives.

    The claim is the UDP port of the same number, which no test uses: the system gives it to one
    process, and takes it back however that ends.
    """
    draw = random.SystemRandom()  # not the generator whose seed the tests set
    found: list[int] = []
    while len(found) < count:
        port = draw.choice(PORTS)
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind(("127.0.0.1", port))
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        found.append(port)
    return found
