"""What the worker needs from the world, and nothing of how it is done.

Each port promises effects, so that every implementation can be held to the same
words by the same tests.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Protocol

from kmworker.errors import Reason
from kmworker.message import Delivery, Original, Outgoing
from kmworker.model import Assignment, Item, Place, ScopeRecord, State
from kmworker.plan import Entry, Write
from kmworker.tally import QueueCounts, Report
from kmworker.values import value

__all__ = [
    "Bus",
    "Commits",
    "Committed",
    "Confirms",
    "Keep",
    "Known",
    "Outcome",
    "Reports",
    "Store",
    "Swept",
    "Taken",
    "Vault",
]


Keep = Callable[[Callable[[list[bytes]], bytes]], None]
"""`Bus.anchor`."""


class Confirms(Protocol):
    """The confirms of what was sent, some of which may be still to come."""

    def have_come(self) -> bool:
        """Say whether calling this waits for nothing; a loss, or being late, is an end, too."""
        ...

    def __call__(self) -> list[bool]:
        """Wait for all of them; say of each message whether any queue was bound for it.

        Returning means that the broker has every routed message on disk.
        """
        ...


class Bus(Protocol):
    """A broker with acknowledgements and publisher confirms.

    Every method raises `BrokerUnavailable` when the connection is lost or a confirm
    does not come in time; after that only `open` and `close` may be called.
    """

    generation: int
    """Grows with each new consuming channel; deliveries of older ones are void."""

    def open(self) -> None:
        """Connect what is not connected, declare or check the names, start consuming."""
        ...

    def receive(self, limit: int, timeout_s: float) -> list[Delivery]:
        """Take what has been delivered, at most ``limit``.

        Waits up to ``timeout_s`` only while nothing at all comes: no confirm of what was
        sent, either.
        """
        ...

    def send(self, messages: Sequence[Outgoing]) -> Confirms:
        """Publish all without waiting.

        Others may be sent meanwhile. What was sent before a loss raises when it is waited
        for, also after another `open`.
        """
        ...

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Settle these; those of an older generation are passed over."""
        ...

    def counts(self) -> QueueCounts:
        """Look at the queues."""
        ...

    def anchor(self, choose: Callable[[list[bytes]], bytes]) -> None:
        """Replace the one message that the broker keeps for workers to come.

        ``choose`` gets what is kept (more than one after a crash) and returns what is to be
        kept from now on. It is not called where nothing can be kept.
        """
        ...

    def tick(self) -> None:
        """Keep idle connections alive; call about once a second."""
        ...

    def close(self) -> None:
        """Let go of everything unacknowledged, without waiting long for the broker."""
        ...


class Outcome(Enum):
    """What became of a write."""

    WRITTEN = "written"
    EXISTS = "exists"
    """The item was assigned before; the stored record is returned."""
    STALE = "stale"
    """What the decision rested on has changed: look up and plan again."""
    ORPHAN = "orphan"
    """The item's scope is there without the item."""
    PARKED = "parked"
    FULL = "full"
    """`waiting.max` events wait in this project."""


@value
class Committed:
    """The result of a write: for an assigned item, what is stored, whoever wrote it."""

    outcome: Outcome
    assignment: Assignment | None = None
    data: bytes = b""
    has_waiting: bool = False


@value
class Taken:
    """A waiting event, or what is wrong with it."""

    entry: Entry
    original: Original
    problem: str = ""
    """Why its record cannot be trusted; then ``original`` is the record itself."""


@value
class Swept:
    """What a sweep over part of a project's waiting room found."""

    due: list[Taken]
    """Past their deadline."""
    present: list[Item]
    """Sources that are there, while events still wait for them."""
    after: str
    """Where to go on; empty at the end."""


Known = Callable[[], dict[Item, State]]
"""Waits for what the store knows of the items that were asked for."""
Commits = Callable[[], list[Committed]]
"""Waits for what became of what was written."""


class Store(Protocol):
    """The records. What a method has written when it returns survives a crash.

    Every method raises `StoreUnavailable` when it cannot do its work now, `UnknownKek`
    when a record is under a KEK that the keyring lacks, and `PermanentError` with
    `Reason.INTEGRITY` when a project's keys are not what they should be.
    """

    def admit(self) -> str:
        """Check that this store may be used, at start and after each reconnection.

        Returns the CloudEvents source that its announcements carry.

        Raises:
            SetupError: it is not durable, its records belong to another keyring, or it
                counts fewer commits than this worker remembers.
        """
        ...

    def commits(self) -> int:
        """Return the newest number of commits known to be on disk, by whatever worker."""
        ...

    def refuse_if_behind(self, anchored: int) -> None:
        """Compare the store with a number of commits that was kept elsewhere.

        Raises:
            SetupError: it counts fewer: it went back in time.
        """
        ...

    def look_up(self, items: Iterable[Item]) -> dict[Item, State]:
        """Return what is known of each item."""
        ...

    def ask(self, items: Iterable[Item]) -> Known:
        """Begin `look_up` without waiting; calling what is returned is the rest of it.

        Whatever was asked or written before this is done before it, answers are taken in any
        order, and errors may come at either end.
        """
        ...

    def commit(self, writes: Sequence[Write]) -> list[Committed]:
        """Write all that can be written; a result for each, in order.

        An item gets a record if and only if it has none. Asking again is safe.

        Raises:
            SetupError: the store has forgotten earlier commits; these must not be announced.
        """
        ...

    def write(self, writes: Sequence[Write]) -> Commits:
        """Begin `commit`, as `ask` does `look_up`."""
        ...

    def take(self, sources: Sequence[Item], limit: int) -> list[list[Taken] | Exception]:
        """Take events that wait for each of ``sources``; each try is counted before it is made.

        Returns for each source at most ``limit`` of its events, or what is wrong with the keys
        that these are kept in.
        """
        ...

    def remove(self, entries: Sequence[Entry]) -> None:
        """Let entries leave the waiting room."""
        ...

    def release(self, entries: Sequence[Entry]) -> None:
        """Take back the attempts counted for entries that could not be tried."""
        ...

    def sweep(self, project: str, limit: int, after: str) -> Swept:
        """Find due and orphaned entries, marking as expired what is due and sourceless."""
        ...

    def count_dead(self, reasons: Sequence[Reason]) -> None:
        """Add to the running totals of dead letters by reason."""
        ...

    def projects(self) -> list[str]:
        """Return every project that has or had a record."""
        ...

    def lease(self, work: str, holder: str, seconds: float) -> bool:
        """Say whether ``holder`` may do ``work`` for the next seconds, alone."""
        ...

    def count_attempt(self, digest: str) -> int:
        """Count a try of a delivery that may have killed a worker before; return the count."""
        ...

    def forget_attempts(self, digest: str) -> None:
        """The delivery did no harm."""
        ...


class Reports(Protocol):
    """What dashboards see of a worker; best effort, never in the way of an event."""

    def write(self, report: Report) -> None:
        """Write what has happened since the last report."""
        ...

    def begin(self, report: Report) -> Callable[[], None]:
        """Begin `write`; calling what is returned is the rest of it."""
        ...


class Vault(Protocol):
    """The only place where key material is in the clear."""

    kek_id: str
    """The active KEK's fingerprint."""

    def mint(self, project: str, scope: ScopeRecord) -> bytes:
        """Draw a DEK for the scope and return it wrapped under the active KEK.

        ``scope.kek_id`` must be `kek_id`. The blob unwraps only for this project,
        scope-id, dek_id, cipher, key size and KEK.
        """
        ...

    def unwrap(self, project: str, scope: ScopeRecord, blob: bytes) -> bytes:
        """Return the DEK.

        Raises:
            UnknownKek: ``scope.kek_id`` is not in the keyring.
            PermanentError: with `Reason.INTEGRITY`, whatever else is wrong with it.
        """
        ...

    def seal(self, place: Place, body: bytes) -> bytes:
        """Return the record ``body`` + ``,"seal":"v1.<kek_id>.<hex>"}``.

        ``body`` is a JSON object without its closing brace.
        """
        ...

    def check_seal(self, place: Place, record: bytes) -> bytes:
        """Return the body of a sealed record that belongs to ``place``.

        Raises:
            UnknownKek: its KEK is not in the keyring.
            PermanentError: with `Reason.INTEGRITY`, whatever else is wrong with it.
        """
        ...
