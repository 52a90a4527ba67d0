"""What a key server sees of all chains of endings, beside those that it is asked about.

When it starts it compares them with what is anchored on the broker, which says how many endings
there have been before. Later it goes round them, and compares again at the end of each round.
"""

from collections.abc import Callable
from typing import Final

import structlog

from kmworker.store.connection import store_errors
from kmworker.store.endings_seen import EndingsSeen
from kmworker.store.rollback import History

__all__ = ["EndingsWatch"]

log = structlog.get_logger()

ANCHOR_S: Final = 30.0
"""Between two looks at the anchor, at the least: each is a connection of its own."""


class EndingsWatch:
    """Goes round the chains."""

    def __init__(
        self,
        seen: EndingsSeen,
        history: History,
        anchored: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        """Prepare.

        Args:
            seen: how long each was.
            history: where all workers are told.
            anchored: asks the broker how many endings there were; 0 if it does not say.
            monotonic: the clock's seconds.
        """
        self._seen = seen
        self._history = history
        self._ask = anchored
        self._monotonic = monotonic
        self._anchored = 0
        self._anchor_at = 0.0
        self._said: set[str] = set()

    def begin(self) -> None:
        """Look at all chains.

        Raises:
            SetupError: there are fewer endings than there were.
            StoreUnavailable, BrokerUnavailable: it cannot be compared now.
            UnknownKek: one is under a KEK that the keyring lacks.
        """
        self._look_at_anchor()
        self._tell(self._seen.look_at_all())
        self._compare()

    def go_on(self) -> None:
        """Look at some; to be called now and then; raises as `begin` does."""
        flaws, is_first = self._seen.look_at_some()
        self._tell(flaws)
        if is_first and self._monotonic() >= self._anchor_at:
            # Each has been looked at since the anchor was.
            self._compare()
            self._look_at_anchor()

    def _look_at_anchor(self) -> None:
        # Not what it says alone: it is not there for a moment when it is replaced.
        self._anchored = max(self._anchored, self._ask())
        self._anchor_at = self._monotonic() + ANCHOR_S

    def _compare(self) -> None:
        if self._seen.total < self._anchored:
            with store_errors():
                self._history.refuse(f"of {self._anchored} endings it has {self._seen.total}")

    def _tell(self, flaws: list[str]) -> None:
        for flaw in flaws:
            if flaw not in self._said:
                self._said.add(flaw)
                log.error("the store was rolled back", detail=flaw)
