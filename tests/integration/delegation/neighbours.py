"""Two nodes of one installation, each with a volume: one is honest, whatever the other does."""

import sys
from typing import Final

from tests.kit.outside.asking import Host, Line
from tests.kit.outside.delegating import Delegation

__all__ = ["MINE", "OTHER_NODE", "THEIRS", "counted", "is_served", "tell"]

MINE, THEIRS = "mine", "theirs"
OTHER_NODE: Final = "compute-18"


def tell(figures: str) -> None:
    """Print figures, for whoever looks: pytest -rP."""
    sys.stdout.write(f"{figures}\n")


def is_served(host: Host, line: Line, name: str = MINE) -> None:
    """Whatever has happened, an honest client gets its key."""
    request = host.request(name)
    assert host.key_in(line.ask(request), request)


def counted(told: Delegation, name: str) -> int:
    """What the key servers have counted of something."""
    return sum(int(it.get(name, 0)) for it in told.site.reader.key_servers().values())
