"""A batch that fails as a whole is halved until the one event at fault stands alone.

Each half goes through all stages by itself, which is safe: whatever was not acknowledged may go
through them again, in any order, any number of times. Who is to blame says
`kmworker.worker.blame`.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from kmworker.domain.decision import Refuse
from kmworker.domain.plan import Arrival
from kmworker.domain.resolve import Dead, dead_from, too_many
from kmworker.errors import PermanentError, PublishRefused, told
from kmworker.worker.blame import Fate, bare, blame
from kmworker.worker.parse import Batch

__all__ = ["Isolator"]

log = structlog.get_logger()


class Isolator:
    """Finds the one event that a batch fails on.

    Args:
        run: brings a batch through all stages, with no others under way.
        reopen: connects again what has ended.
        pause: keeps an event that is to be tried again, and returns for how many seconds; none
            where too many are kept.
        hold: keeps dead letters that cannot be published, however bare.
        max_attempts: so often an event is tried that fails by an internal error.
    """

    def __init__(
        self,
        *,
        run: Callable[[Batch], None],
        reopen: Callable[[], None],
        pause: Callable[[Arrival], float],
        hold: Callable[[Sequence[Dead], Exception], None],
        max_attempts: int,
    ) -> None:
        self._run = run
        self._reopen = reopen
        self._pause = pause
        self._hold = hold
        self._max_attempts = max_attempts

    def run(self, batch: Batch, ends: int, failed: Exception | None = None) -> None:
        """Run a batch; if it fails as a whole, its halves, down to the one event at fault.

        Args:
            batch: the events.
            ends: how often in a row the broker has ended a connection over what was published.
            failed: what the batch has failed of before this, and is not run for again.

        Raises:
            TransientError: a server is away, which is no event's fault.
            SetupError: nor is this.
        """
        to_run = deque([batch] if failed is None else self._instead(batch, failed, ends))
        while to_run:
            batch = to_run.popleft()
            try:
                self._run(batch)
            except Exception as error:  # noqa: BLE001  # whatever it is, only one event may suffer
                # Before all others, so that events keep their order.
                to_run.extendleft(reversed(self._instead(batch, error, ends)))

    def _instead(self, batch: Batch, error: Exception, ends: int) -> list[Batch]:
        """Return what is to be run in place of a batch that has failed."""
        fate = blame(error, batch.events, max_attempts=self._max_attempts, ends=ends)
        if fate is Fate.RAISE:
            raise error
        if isinstance(error, PublishRefused):
            self._reopen()
        match fate:
            case Fate.HALVE:
                return _halves(batch, error)
            case Fate.DEAD_LETTER | Fate.GIVE_UP:
                (arrival,) = batch.arrivals
                return [Batch([], [dead_from(arrival, _refusal(arrival, error))])]
            case Fate.TRY_AGAIN:
                return self._again(batch, error)
            case Fate.LEAVE_OFF_PROPERTIES:
                (dead,) = batch.dead
                log.warning("dead letter loses its properties", event_id=dead.event_id)
                return [Batch([], [bare(dead)])]
            case Fate.HOLD:
                self._hold(batch.dead, error)
                return []

    def _again(self, batch: Batch, error: Exception) -> list[Batch]:
        (arrival,) = batch.arrivals
        again = replace(arrival, attempts=arrival.attempts + 1)
        pause_s = self._pause(again)
        log.error(
            "event failed",
            event_id=arrival.event.cause.id,
            attempt=arrival.attempts,
            error=told(error),
            again_in_s=round(pause_s, 1),
        )
        return [] if pause_s else [Batch([again], [])]


def _halves(batch: Batch, error: Exception) -> list[Batch]:
    arrivals, dead = batch.arrivals, batch.dead
    log.warning("batch failed, splitting it", events=len(batch.events), error=told(error))
    half, dead_half = (len(arrivals) + 1) // 2, len(dead) // 2
    return [
        Batch(arrivals[:half], dead[:dead_half]),
        Batch(arrivals[half:], dead[dead_half:]),
    ]


def _refusal(arrival: Arrival, error: Exception) -> Refuse:
    if isinstance(error, PermanentError):
        return Refuse(error.reason, error.detail)
    event_id = arrival.event.cause.id
    log.error("event failed for the last time", event_id=event_id, error=told(error))
    return too_many(arrival.attempts)
