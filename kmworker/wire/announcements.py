"""What workers say of an item: that it was assigned, or that it is gone."""

from kmworker.domain.message import Outgoing
from kmworker.domain.model import Announceable, KeyReleased
from kmworker.wire.assignments import announce as announce_assignment
from kmworker.wire.releases import announce_release

__all__ = ["announce"]


def announce(what: Announceable, source: str, exchange: str) -> Outgoing:
    """Build the message that tells subscribers of it.

    Args:
        what: as it is stored.
        source: the CloudEvents source that the store's announcements carry.
        exchange: the assignments exchange.
    """
    if isinstance(what, KeyReleased):
        return announce_release(what, source, exchange)
    return announce_assignment(what, source, exchange)
