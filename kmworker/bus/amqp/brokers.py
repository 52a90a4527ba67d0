"""Several brokers, of which one at a time is used: the nodes of a cluster.

All connections of a worker go to one node, as long as it lasts. When one is lost, the next
node is tried, and after the last one the first again; how long to wait between two tries is
for whoever tries.
"""

from collections.abc import Callable, Sequence

__all__ = ["Brokers"]


class Brokers:
    """Whose turn it is.

    Args:
        urls: at least one, in the order in which they are tried.
        on_change: called with the URL of the next one.
    """

    def __init__(
        self, urls: Sequence[str], on_change: Callable[[str], None] = lambda _url: None
    ) -> None:
        self._urls = urls
        self._on_change = on_change
        self._turn = 0

    @property
    def current(self) -> str:
        """Return the URL to connect to."""
        return self._urls[self._turn]

    def leave(self, url: str) -> None:
        """Go on to the next one: this one was lost.

        If its turn is over already, another connection to it was lost before, with it.
        """
        if len(self._urls) > 1 and url == self.current:
            self._turn = (self._turn + 1) % len(self._urls)
            self._on_change(self.current)
