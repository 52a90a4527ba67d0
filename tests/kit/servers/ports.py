"""Ports that stay free while their server is down."""

import secrets
import socket

# Below the range that the kernel gives to outgoing connections (from 32768 on Linux).
# Within it, another connection could take the port between a server's kill and its restart,
# and a client that keeps trying a dead local port can end up connected to itself.
CANDIDATES = range(20000, 30000)

_given: set[int] = set()


def free_port() -> int:
    """Give a port that nothing listens on and that this run has not given before."""
    # Drawn at random, so that two runs at the same moment hardly ever meet.
    while True:
        port = secrets.choice(CANDIDATES)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port


def is_listening(port: int) -> bool:
    """Return whether something takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
