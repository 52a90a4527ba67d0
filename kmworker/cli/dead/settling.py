"""What becomes of chosen dead letters, and the count of it."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from kmworker.bus.dead_queue import DeadQueue
from kmworker.cli.dead.search import Chosen
from kmworker.cli.terminal.output import complain
from kmworker.errors import NotFound
from kmworker.wire.dead_letters.reading import replayed

__all__ = ["Discarding", "Replaying", "Settling"]

# Each is worth a line, a thousand of them are not.
MAX_NAMED = 10


@dataclass(slots=True, kw_only=True)
class Settling(ABC):
    """Settles dead letters, or counts what it would settle."""

    verb: ClassVar[str]
    past: ClassVar[str]
    dry_run: bool
    settled: Counter[str] = field(default_factory=Counter)
    """By reason."""
    skipped: int = 0

    @property
    def did(self) -> str:
        """Return what it did, as a verb."""
        return f"would {self.verb}" if self.dry_run else self.past

    @abstractmethod
    def settle(self, queue: DeadQueue, chosen: Sequence[Chosen]) -> None:
        """Settle these; what it does not settle stays in the queue."""

    def numbers(self, missing: Sequence[str]) -> dict[str, Any]:
        """Return the result for a program: how many were settled, and what was not there."""
        return {
            "dry_run": self.dry_run,
            self.past: self.settled.total(),
            "by_reason": dict(sorted(self.settled.items())),
            **self._beside(),
            "missing": list(missing),
        }

    def _beside(self) -> dict[str, int]:
        return {}


@dataclass(slots=True, kw_only=True)
class Replaying(Settling):
    """Publishes the events again."""

    verb = "replay"
    past = "replayed"
    exchange: str

    def settle(self, queue: DeadQueue, chosen: Sequence[Chosen]) -> None:
        """Publish what can be, confirmed; only then do the dead letters leave the queue.

        Raises:
            NotFound: no queue takes events.
        """
        able = []
        for browsed, dead in chosen:
            if dead.obstacle:
                self._pass_over(dead.message_id, dead.obstacle)
            else:
                able.append((browsed, dead))
        if self.dry_run or not able:
            self.settled.update(dead.reason for _, dead in able)
            return
        routed = queue.replay([(browsed, replayed(it, self.exchange)) for browsed, it in able])
        self.settled.update(
            dead.reason for (_, dead), taken in zip(able, routed, strict=True) if taken
        )
        if not all(routed):
            hint = "a worker binds it: start one with kmworker worker"
            raise NotFound(f"no queue is bound to {self.exchange}: not all were replayed", hint)

    def _beside(self) -> dict[str, int]:
        return {"passed_over": self.skipped}

    def _pass_over(self, message_id: str, obstacle: str) -> None:
        self.skipped += 1
        if self.skipped <= MAX_NAMED:
            complain(f"not replayed: {message_id}: {obstacle}")


@dataclass(slots=True, kw_only=True)
class Discarding(Settling):
    """Throws dead letters away."""

    verb = "discard"
    past = "discarded"

    def settle(self, queue: DeadQueue, chosen: Sequence[Chosen]) -> None:
        """Settle all of them."""
        if not self.dry_run:
            queue.discard([browsed for browsed, _ in chosen])
        self.settled.update(dead.reason for _, dead in chosen)
