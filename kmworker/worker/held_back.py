"""What cannot go on now: tried again after a while, apart from everything else.

Some queue of somebody's may be full. An assignment is on disk before it is announced. So
after a few refusals it counts as unrouted, as if that queue were not bound: `kmworker announce`
publishes it again. A dead letter is nowhere but in its event, so the event stays unacknowledged
until that is stored, and only so many of them are held.

What fails by an internal error may not fail a little later, and in company it fails for all. So
its next try is after a pause, alone. None of this keeps other events waiting.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Final

import structlog

from kmworker.clock import Clock
from kmworker.domain.message import Confirm, Delivery
from kmworker.domain.model import Announceable
from kmworker.domain.plan import Arrival, Entry
from kmworker.domain.resolve import Dead, Done
from kmworker.errors import told
from kmworker.worker.tally import Tally

__all__ = ["MAX_HELD_BACK", "MAX_REFUSALS", "HeldBack"]

log = structlog.get_logger()

MAX_HELD_BACK: Final = 100
"""Events whose dead letters wait, and as many that pause between tries: each an eighth of what a
worker of default size has at hand."""
MAX_REFUSALS: Final = 3
"""So often an assignment is refused before it counts as unrouted."""
# A queue whose leader is being elected is there again within this; half a second in all.
AGAIN_AFTER_S: Final = (0.1, 0.4)
# A queue that was full for all tries is full for the next assignment, too.
FULL_FOR_S: Final = 30.0
MAX_FULL: Final = 1000
FIRST_DEAD_LETTERS_AGAIN_S: Final = 1.0
MAX_DEAD_LETTERS_AGAIN_S: Final = 30.0

# Between the tries at what fails by an internal error; 7.5 seconds at most for the default number.
FIRST_PAUSE_S: Final = 0.5
MAX_PAUSE_S: Final = 4.0

ASSIGNMENTS: Final = "assignments"
DEAD_LETTERS: Final = "dead letters"


class HeldBack:
    """Assignments and dead letters that were refused, and events that pause between tries.

    Args:
        assignments: the exchange that assignments are announced on.
        dead: that of dead letters.
        clock: by which they are tried again.
        tally: where dashboards see what is refused.
        jitter: draws between two numbers, so that workers do not come back in step.
        most: events that are held for their dead letters, and that pause between tries. Those held
            for their assignments are bounded by the prefetch, and by half a second.
        put_aside: called with deliveries that nothing is to wait for.
        wait_on: called with the waiting events whose dead letters were refused: they are in the
            store, and the sweep brings them again.
    """

    def __init__(  # noqa: PLR0913  # its parts; one place builds it
        self,
        *,
        assignments: str,
        dead: str,
        clock: Clock,
        tally: Tally,
        jitter: Callable[[float, float], float],
        most: int,
        put_aside: Callable[[Sequence[Delivery]], None],
        wait_on: Callable[[Sequence[Entry]], None],
    ) -> None:
        self._assignments = assignments
        self._dead = dead
        self._clock = clock
        self._tally = tally
        self._jitter = jitter
        self._most = most
        self._put_aside = put_aside
        self._wait_on = wait_on
        self._arrivals: list[tuple[float, Arrival]] = []
        """With the monotonic second at which each is due."""
        self._paused: list[tuple[float, Arrival]] = []
        """The same of what failed."""
        self._dead_letters: list[Dead] = []
        self._dead_letters_due = 0.0
        self._dead_letters_wait_s = 0.0
        self._unsendable: list[Dead] = []
        self._unsendable_due = 0.0
        self._full: dict[tuple[str, str], float] = {}
        """Kind and project whose assignments were refused in vain, and until when they are
        tried only once."""
        self._look_again_at = 0.0

    @property
    def is_full(self) -> bool:
        """Return whether no more events may be taken."""
        return len(self._dead_letters) + len(self._unsendable) >= self._most

    @property
    def has_refused_dead_letters(self) -> bool:
        """Return whether dead letters were refused a moment ago."""
        return self._clock.monotonic() < self._dead_letters_due

    def entries(self) -> list[Entry]:
        """Return the waiting events among what is held."""
        held = (*self._arrivals, *self._paused)
        return [it.entry for _due, it in held if it.entry is not None]

    def clear(self) -> None:
        """Let go of everything: it comes again."""
        self._arrivals.clear()
        self._paused.clear()
        self._dead_letters.clear()
        self._unsendable.clear()

    def set_aside(self, done: Done, confirms: Sequence[Confirm]) -> int:
        """Take out of ``done`` what is not settled by this, and keep it.

        Args:
            done: what was sent.
            confirms: of the assignments, then of the dead letters.

        Returns:
            How many assignments were refused once too often: these are settled.
        """
        announced = len(done.announce)
        given_up, again = [], {}
        for it, owner, confirm in zip(done.announce, done.owners, confirms, strict=False):
            if confirm is Confirm.REFUSED and self._is_once_more(owner, it):
                again[id(owner)] = owner
            elif confirm is Confirm.REFUSED:
                given_up.append(it)
        dead_letters = [
            dead
            for dead, confirm in zip(done.dead, confirms[announced:], strict=True)
            if confirm is Confirm.REFUSED
        ]
        self._hold(again.values())
        if dead_letters:
            self._hold_dead_letters(dead_letters)
        self._alert(given_up)
        done.take_out([*again.values(), *dead_letters])
        return len(given_up)

    def hold_unsendable(self, dead_letters: Sequence[Dead], error: Exception) -> None:
        """Keep dead letters that cannot be published, however bare."""
        self._unsendable_due = self._clock.monotonic() + MAX_DEAD_LETTERS_AGAIN_S
        self._unsendable += self._with_delivery(dead_letters)
        log.error(
            "a dead letter cannot be published",
            exchange=self._dead,
            error=told(error),
            held=len(self._unsendable),
        )

    def _hold_dead_letters(self, dead_letters: Sequence[Dead]) -> None:
        self._dead_letters += self._with_delivery(dead_letters)
        number = len(self._dead_letters)
        trouble = f"{self._dead}: no room for dead letters, {number} held back"
        self._tally.troubles[DEAD_LETTERS] = trouble
        now = self._clock.monotonic()
        if now < self._dead_letters_due:
            # One more of them says nothing new.
            return
        wait_s = self._dead_letters_wait_s * 2 or FIRST_DEAD_LETTERS_AGAIN_S
        self._dead_letters_wait_s = min(wait_s, MAX_DEAD_LETTERS_AGAIN_S)
        self._dead_letters_due = now + self._dead_letters_wait_s
        log.error(
            "dead letters are refused",
            exchange=self._dead,
            held=number,
            again_in_s=self._dead_letters_wait_s,
            hint="make room in the queues bound to it: kmworker dead replay, or discard",
        )

    def _with_delivery(self, dead_letters: Sequence[Dead]) -> list[Dead]:
        """Return those that must be held; waiting events are left where they are."""
        self._wait_on([dead.entry for dead in dead_letters if dead.entry is not None])
        self._put_aside([dead.delivery for dead in dead_letters if dead.delivery is not None])
        return [dead for dead in dead_letters if dead.delivery is not None]

    def holds_dead_letter_of(self, tag: int) -> bool:
        """Return whether this delivery is kept only since its dead letter was refused."""
        return any(it.delivery is not None and it.delivery.tag == tag for it in self._dead_letters)

    def pause(self, arrival: Arrival) -> float:
        """Keep an event that failed until its next try, which its attempts count already.

        Returns:
            For how many seconds; 0 where too many are kept, and it is not.
        """
        if len(self._paused) >= self._most:
            # Whatever it is that fails so often, what does not fail must get past it.
            return 0.0
        most_s = min(FIRST_PAUSE_S * 2.0 ** (arrival.attempts - 2), MAX_PAUSE_S)
        pause_s = most_s / 2 + self._jitter(0.0, most_s / 2)
        self._put_aside([] if arrival.delivery is None else [arrival.delivery])
        self._paused.append((self._clock.monotonic() + pause_s, arrival))
        return pause_s

    @property
    def has_ended_pause(self) -> bool:
        """Return whether an event's pause is over."""
        now = self._clock.monotonic()
        return any(at <= now for at, _arrival in self._paused)

    def due_paused(self) -> list[Arrival]:
        """Hand over one event whose pause is over, if there is any; others have the next turns."""
        if not self.has_ended_pause:
            return []
        first = min(self._paused, key=itemgetter(0))
        self._paused.remove(first)
        return [first[1]]

    def is_to_look_again(self) -> bool:
        """Return whether it is time to see if what was full is so still, on a new channel."""
        now = self._clock.monotonic()
        if self._dead_letters and self._dead_letters_wait_s and now >= self._dead_letters_due:
            return True
        if not self._full or now < self._look_again_at:
            return False
        self._look_again_at = now + FULL_FOR_S
        return True

    def due_arrivals(self) -> list[Arrival]:
        """Hand over the events whose assignments are to be announced again now."""
        now = self._clock.monotonic()
        if self._full and not any(until > now for until in self._full.values()):
            self._full.clear()
            self._tally.troubles[ASSIGNMENTS] = ""
        if not self._arrivals:
            return []
        due = [arrival for at, arrival in self._arrivals if at <= now]
        self._arrivals = [(at, arrival) for at, arrival in self._arrivals if at > now]
        return due

    def due_dead_letters(self) -> list[Dead]:
        """Hand over what is to be tried again now: one, and all others once that is stored."""
        now = self._clock.monotonic()
        if self._unsendable and now >= self._unsendable_due:
            return [self._unsendable.pop(0)]
        if not self._dead_letters or now < self._dead_letters_due:
            return []
        if self._dead_letters_wait_s:
            return [self._dead_letters.pop(0)]
        dead_letters, self._dead_letters = self._dead_letters, []
        return dead_letters

    def dead_letters_stored(self) -> None:
        """Note that dead letters are not refused any more."""
        if self._dead_letters_wait_s:
            self._dead_letters_due = self._dead_letters_wait_s = 0.0
            self._tally.troubles[DEAD_LETTERS] = ""
            log.info("dead letters are stored again", exchange=self._dead)

    def _is_once_more(self, owner: Arrival, announced: Announceable) -> bool:
        """Return whether an assignment is worth another try."""
        until = self._full.get(_of(announced), 0.0)
        return owner.refusals + 1 < MAX_REFUSALS and until <= self._clock.monotonic()

    def _hold(self, arrivals: Iterable[Arrival]) -> None:
        now = self._clock.monotonic()
        self._arrivals += [
            (now + AGAIN_AFTER_S[it.refusals], replace(it, refusals=it.refusals + 1))
            for it in arrivals
        ]

    def _alert(self, given_up: Sequence[Announceable]) -> None:
        if not given_up:
            return
        until = self._clock.monotonic() + FULL_FOR_S
        if not self._full:
            self._look_again_at = until
        new = {_of(it) for it in given_up} - self._full.keys()
        if len(self._full) + len(new) > MAX_FULL:
            self._full.clear()
        self._full.update((_of(it), until) for it in given_up)
        self._tally.troubles[ASSIGNMENTS] = f"{self._assignments}: a queue bound to it has no room"
        for kind, project in sorted(new):
            log.warning(
                "assignments are refused, and count as unrouted",
                exchange=self._assignments,
                routing_key=f"*.{kind}.{project}",
                hint="make room in the queues bound to it, which must not have"
                " overflow=reject-publish; then kmworker announce",
            )


def _of(announced: Announceable) -> tuple[str, str]:
    item = announced.item
    return item.kind.value, item.project
