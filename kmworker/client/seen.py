"""Which announcements were acted on, as far back as memory reaches."""

from collections import OrderedDict

__all__ = ["Seen"]


class Seen:
    """The last ``limit`` ids that were added."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ids: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, announcement_id: str) -> bool:
        return announcement_id in self._ids

    def add(self, announcement_id: str) -> None:
        """Remember an id as the latest, and forget the oldest where there are too many."""
        self._ids[announcement_id] = None
        self._ids.move_to_end(announcement_id)
        if len(self._ids) > self._limit:
            self._ids.popitem(last=False)
