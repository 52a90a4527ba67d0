"""Somebody honest, who goes on saying one thing after the other whatever others do."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from tests.kit.outside.heard import Heard
from tests.kit.outside.history import Sent
from tests.kit.outside.wire import plain
from tests.kit.outside.words import Event, Item
from tests.kit.parties.sides import Line, Side

EVERY_S: Final = 0.1
PRODUCER: Final = "/steady"


@dataclass(frozen=True, slots=True)
class Seen:
    """What somebody honest saw between two moments."""

    longest_s: float
    """Without any key."""
    took_s: tuple[float, ...]
    """From saying it to the key, or at least to the end, in order of size."""
    served: int
    """Keys that came."""

    def took(self, share: float) -> float:
        """Return within how many seconds this share of the volumes had their keys."""
        return self.took_s[int(len(self.took_s) * share)] if self.took_s else self.longest_s


class Steady(Side[Line]):
    """Has one blank volume made after the other, and minds when each gets its key."""

    def __init__(
        self, connect: Callable[[], Line], heard: Heard, project: str, every_s: float = EVERY_S
    ) -> None:
        super().__init__(connect, "steady")
        self._every_s = every_s
        self.said: list[Sent] = []
        self._heard = heard
        self._project = project
        self._due_at = 0.0
        self._first_said: dict[str, float] = {}

    def between(self, start: float, end: float) -> Seen:
        """Return what was seen within these Unix seconds."""
        came = {it.subject: it.heard_at for it in list(self._heard.news)}
        said = dict(self._first_said)
        moments = sorted(at for subject, at in came.items() if subject in said)
        within = [at for at in moments if start < at < end]
        pauses = (later - earlier for earlier, later in pairwise([start, *within, end]))
        took_s = [
            min(came.get(subject, end), end) - at
            for subject, at in said.items()
            if start <= at < end
        ]
        return Seen(max(pauses), tuple(sorted(took_s)), len(within))

    def _turn(self, line: Line) -> None:
        now = time.monotonic()
        if now < self._due_at:
            self._over.wait(self._due_at - now)
            return
        item = Item(self._project, "volume", f"v{len(self.said)}")
        event = Event(item, item.id, PRODUCER)
        sent = Sent(plain(event), event)
        # From before it is there: who waits does not know when the broker had it.
        self._first_said.setdefault(item.subject, time.time())
        if line.publish(sent.message):
            self.said.append(sent)
            # Late once is no reason to be late from then on, unless it was for long.
            self._due_at = max(self._due_at, now - 1) + self._every_s
