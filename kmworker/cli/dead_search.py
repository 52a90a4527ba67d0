"""One way through the dead letters: which are meant, which ids were not met, what is left."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from kmworker.bus.dead_queue import DeadQueue, Held
from kmworker.cli.output import complain, note, plural, progress
from kmworker.letters import Fingerprint, Letter, Selection, read_letter

__all__ = ["Chosen", "Search"]

# RabbitMQ 4 throws away what came back 20 times, unless a policy lifts its limit. What came
# back more often shows that it was lifted.
OFTEN: Final = range(10, 20)

Chosen = tuple[Held, Letter]


@dataclass(slots=True)
class Search:
    """Goes through the letters once."""

    selection: Selection
    limit: int | None = None
    """At most so many are chosen."""
    only: Counter[Fingerprint] | None = None
    """If given, only these, by their fingerprints, each as often as it is in here."""
    found: set[str] = field(default_factory=set)
    """Those of the selection's ids that mean a letter."""
    is_cut: bool = False
    """There may be more than the limit."""

    def through(self, queue: DeadQueue, total: int) -> Iterator[list[Chosen]]:
        """Give the chosen letters in portions; they stay in the queue unless settled."""
        if queue.others:
            note(
                f"{plural(queue.others, 'other client')} of the broker looks at the dead letters,"
                " too: what is held there is not seen here"
            )
        left, most_returned = self.limit, 0
        with progress("looking through", total) as advance:
            for portion in queue.look():
                chosen = self._choose(portion)
                most_returned = max(most_returned, *(held.returned for held in portion))
                if left is not None:
                    self.is_cut |= len(chosen) > left
                    chosen = chosen[:left]
                    left -= len(chosen)
                if chosen:
                    yield chosen
                advance(len(portion))
                if left == 0:
                    self.is_cut = True
                    break
        if queue.may_drop and most_returned in OFTEN:
            complain(
                f"some letters were looked at {most_returned} times, and RabbitMQ 4 throws them"
                " away at the 20th",
                "load config/rabbitmq/policies-4.x.json, which lifts that limit",
            )

    @property
    def missing(self) -> list[str]:
        """Return the ids that mean no letter."""
        return [wanted for wanted in self.selection.ids if wanted not in self.found]

    def _choose(self, portion: list[Held]) -> list[Chosen]:
        chosen = []
        for held in portion:
            letter = read_letter(held.original)
            self.found.update(self.selection.named(letter))
            if self.selection.matches(letter) and self._is_wanted(letter):
                chosen.append((held, letter))
        return chosen

    def _is_wanted(self, letter: Letter) -> bool:
        if self.only is None:
            return True
        self.only[letter.fingerprint] -= 1
        return self.only[letter.fingerprint] >= 0
