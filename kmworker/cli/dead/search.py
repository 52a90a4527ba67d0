"""One way through the dead letters: which are meant, which ids were not met, what is left."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NoReturn

from kmworker.bus.dead_queue import Browsed, DeadQueue
from kmworker.cli.terminal.output import complain, note, plural, progress
from kmworker.errors import SetupError
from kmworker.wire.dead_letters.reading import DeadLetter, Fingerprint, Selection, read_dead_letter

__all__ = ["Chosen", "Search"]

# RabbitMQ 4 throws away what comes back for the 21st time, unless a policy lifts its limit. What
# came back more often shows that it was lifted.
LAST: Final = 20
OFTEN: Final = range(10, LAST + 1)
STOPS_AT: Final = 15

HINT: Final = (
    "set the policies of config/rabbitmq/definitions.json, which lift that limit; then --anyway"
)

Chosen = tuple[Browsed, DeadLetter]


@dataclass(slots=True)
class Search:
    """Goes through the dead letters once."""

    selection: Selection
    limit: int | None = None
    """At most so many are chosen."""
    anyway: bool = False
    """The broker's limit is known to be lifted."""
    only: Counter[Fingerprint] | None = None
    """If given, only these, by their fingerprints, each as often as it is in here."""
    found: set[str] = field(default_factory=set)
    """Those of the selection's ids that mean a dead letter."""
    is_cut: bool = False
    """There may be more than the limit."""

    def through(self, queue: DeadQueue, total: int) -> Iterator[list[Chosen]]:
        """Give the chosen dead letters in pages; they stay in the queue unless settled."""
        if queue.others:
            note(
                f"{plural(queue.others, 'other client')} of the broker looks at the dead letters,"
                " too: what is held there is not seen here"
            )
        left, most_returned = self.limit, 0
        with progress("looking through", total) as advance:
            for page in queue.browse():
                chosen = self._choose(page)
                most_returned = max(most_returned, *(browsed.returned for browsed in page))
                if queue.may_drop and not self.anyway and STOPS_AT <= most_returned <= LAST:
                    _refuse(most_returned)
                if left is not None:
                    self.is_cut |= len(chosen) > left
                    chosen = chosen[:left]
                    left -= len(chosen)
                if chosen:
                    yield chosen
                advance(len(page))
                if left == 0:
                    self.is_cut = True
                    break
        if queue.may_drop and not self.anyway and most_returned in OFTEN:
            complain(_looked_at(most_returned), HINT)

    @property
    def missing(self) -> list[str]:
        """Return the ids that mean no dead letter."""
        return [wanted for wanted in self.selection.ids if wanted not in self.found]

    def _choose(self, page: list[Browsed]) -> list[Chosen]:
        chosen = []
        for browsed in page:
            dead = read_dead_letter(browsed.original)
            self.found.update(self.selection.named(dead))
            if self.selection.matches(dead) and self._is_wanted(dead):
                chosen.append((browsed, dead))
        return chosen

    def _is_wanted(self, dead: DeadLetter) -> bool:
        if self.only is None:
            return True
        self.only[dead.fingerprint] -= 1
        return self.only[dead.fingerprint] >= 0


def _looked_at(times: int) -> str:
    return (
        f"dead letters were looked at {times} times, and RabbitMQ 4 throws them away when they are"
        f" given back after more than {LAST}"
    )


def _refuse(times: int) -> NoReturn:
    """Go no further: each that is handed out and not settled is given back."""
    raise SetupError(f"{_looked_at(times)}, so looking ends here", HINT)
