"""What the worker needs from the world, and nothing of how it is done.

Each port promises effects, so that every implementation can be held to the same
words by the same tests.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from kmworker.domain.audit import AuditRecord, Unsaid
from kmworker.domain.grants import GrantsSeen
from kmworker.domain.keks import KeyringTrouble
from kmworker.domain.message import Confirm, Delivery, Outgoing
from kmworker.domain.model import (
    Broken,
    Held,
    Item,
    KeyRecord,
    Place,
    Released,
    ScopeRecord,
    State,
)
from kmworker.domain.plan import Committed, Entry, Write
from kmworker.domain.retention import Buried, Count, KeySeen, StillHeld
from kmworker.domain.values import value
from kmworker.domain.waiting import Due, Swept, Taken
from kmworker.errors import Reason

__all__ = [
    "Answered",
    "AuditTrail",
    "Bus",
    "Custody",
    "Keep",
    "Pending",
    "QueueCounts",
    "Report",
    "Reports",
    "Retention",
    "Store",
]


Keep = Callable[[Callable[[list[bytes]], bytes]], None]
"""`Bus.anchor`."""


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """Messages ready in the work and dead queues, and the work queue's consumers."""

    work: int
    dead: int
    consumers: int


@dataclass(frozen=True, slots=True)
class Report:
    """What has happened since the last report."""

    worker_id: str
    seen_at: float
    """Unix seconds."""
    fields: Mapping[str, str | int | float]
    """Of the worker's hash; none if it stays as it is."""
    feed: list[dict[str, str]]
    minute: Mapping[str, str | int | float] | None
    """Once a minute: that minute's numbers."""
    queues: QueueCounts | None


T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Pending(Protocol[T_co]):
    """An answer that is still to come: what was begun is sent, and nobody waits for it yet."""

    def done(self) -> bool:
        """Return whether `result` waits for nothing; a loss, or being late, is an end, too."""

    def result(self) -> T_co:
        """Wait for the answer. To be taken once."""


@value
class Answered(Generic[T]):
    """A `Pending` that nothing is to be waited for."""

    answer: T

    def done(self) -> bool:
        """Return that it is."""
        return True

    def result(self) -> T:
        """Return the answer."""
        return self.answer


class Bus(Protocol):
    """A broker with acknowledgements and publisher confirms.

    Every method raises `BrokerUnavailable` when the connection is lost or a confirm
    does not come in time; after that only `open` and `close` may be called. It is
    `PublishRefused` where the broker ended it over what was published.
    """

    generation: int
    """Grows with each new consuming channel; deliveries of older ones are void."""

    def open(self) -> None:
        """Connect what is not connected, declare or check the names, start consuming."""

    def receive(self, limit: int, timeout_s: float) -> list[Delivery]:
        """Take what has been delivered, at most ``limit``.

        Waits up to ``timeout_s`` only while nothing at all comes: no confirm of what was
        sent, either.
        """

    def send(self, messages: Sequence[Outgoing]) -> Pending[list[Confirm]]:
        """Publish all without waiting; the answer is what the broker says of each message.

        Others may be sent meanwhile. What was sent before a loss raises when it is waited
        for, also after another `open`.

        Raises:
            Unsendable: one of them cannot be written; none was sent.
        """

    def renew(self) -> None:
        """Publish on a new channel from now on, unless confirms are still to come.

        A broker may go on refusing on a channel what it refused once: RabbitMQ's does not hear of
        it when the policy is lifted that limited a queue.
        """

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Settle these; those of an older generation are skipped."""

    def put_aside(self, deliveries: Sequence[Delivery]) -> None:
        """Keep these unacknowledged for as long as it takes, and let nothing wait for them.

        Those of an older generation are skipped. Only so few that what else may be at hand
        is many more.
        """

    def counts(self) -> QueueCounts:
        """Look at the queues.

        Raises:
            NotCounted: this user may not.
        """

    def anchor(self, choose: Callable[[list[bytes]], bytes]) -> None:
        """Replace the one message that the broker keeps for workers to come.

        ``choose`` gets what is kept (more than one after a crash) and returns what is to be
        kept from now on. It is not called where nothing can be kept.
        """

    def tick(self) -> None:
        """Keep idle connections alive; call about once a second."""

    def close(self) -> None:
        """Let go of everything unacknowledged, without waiting long for the broker."""


class Store(Protocol):
    """The records. What a method has written when it returns survives a crash.

    Every method raises `StoreUnavailable` when it cannot do its work now, `UnknownKek`
    when a record is under a KEK that the keyring lacks, and `PermanentError` with
    `Reason.INTEGRITY` when a project's keys are not what they should be.
    """

    def admit(self) -> str:
        """Check that this store may be used, at start and after each reconnection.

        Returns the producer that its announcements name: CloudEvents' `source`.

        Raises:
            SetupError: it is not durable, its records belong to another keyring or are of
                another layout, or it counts fewer commits than this worker remembers.
        """

    def follow_keyring(self) -> None:
        """Take up what has become of KEKs, and of the keyring file; to be called now and then.

        Raises:
            UnknownKek: the keyring lacks the active KEK.
            SetupError: what the store says of KEKs is not as it was sealed.
        """

    def keyring_trouble(self) -> KeyringTrouble | None:
        """Return why a changed keyring file is not taken up, None for no trouble."""

    def layout_is_newer(self) -> bool:
        """Return whether a later release has changed the layout of what was admitted."""

    def commits(self) -> int:
        """Return the newest number of commits known to be on disk, by whatever worker."""

    def refuse_if_behind(self, anchored: int) -> None:
        """Compare the store with a number of commits that was kept elsewhere.

        Raises:
            SetupError: it counts fewer: it was rolled back.
        """

    def endings(self) -> int:
        """Look at some chains of endings; return how many entries all of them are known to have.

        Raises:
            SetupError: one is shorter than it was: somebody has put an older one back.
        """

    def refuse_if_endings_lack(self, anchored: int) -> None:
        """Compare all chains of endings with a number of entries that was kept elsewhere.

        Raises:
            SetupError: there are fewer: somebody has put older ones back.
        """

    def look_up(self, items: Iterable[Item]) -> Pending[dict[Item, State]]:
        """Ask what is known of each item.

        Here and in `commit`: whatever was asked or written before this is done before it, answers
        are taken in any order, and errors may come at either end.
        """

    def recall(self, items: Iterable[Item]) -> dict[Item, Held | Released]:
        """Return what was sent or verified of these items lately; asks nobody.

        It may be untrue by now: only what `commit` compares may rest on it.
        """

    def look_up_grants(
        self, items: Collection[Item]
    ) -> Pending[dict[Item, GrantsSeen | Broken | None]]:
        """Ask who may have each item's key because it is attached there."""

    def commit(self, writes: Sequence[Write]) -> Pending[list[Committed]]:
        """Write all that can be written; a result for each, in order.

        A record is written if and only if what is there is as it was seen. Asking again is safe.

        Raises:
            SetupError: the store has forgotten earlier commits; these must not be announced.
        """

    def unsaid(self) -> list[Unsaid]:
        """Return some of what has become of keys, and may not have been announced or recorded.

        Whatever was committed is found, a while after, until it is given to `said`.
        """

    def said(self, changes: Sequence[Unsaid]) -> None:
        """Note that these have been announced and recorded."""

    def take(self, sources: Sequence[Item], limit: int) -> list[list[Taken] | Exception]:
        """Take events that wait for each of ``sources``; each try is counted before it is made.

        Returns for each source at most ``limit`` of its events, or what is wrong with the keys
        that these are kept in.
        """

    def remove(self, entries: Sequence[Entry]) -> None:
        """Let entries leave the waiting room."""

    def release(self, entries: Sequence[Entry]) -> None:
        """Take back the attempts counted for entries that could not be tried."""

    def sweep(self, project: str, limit: int, after: str) -> Swept:
        """Find due and orphaned entries, marking as expired what is due and sourceless."""

    def due(self, limit: int) -> list[Due]:
        """Return projects with something to do in their waiting rooms, the longest due first.

        Whatever was parked or given to `mark_due` before is found, and what has come to
        nothing is found once more.
        """

    def look_again(self, looked_at: Sequence[tuple[Due, float | None]]) -> None:
        """Let each project be found again: at its next deadline, or after so many seconds.

        What was parked or marked since `due` found it is not put off.
        """

    def review_crowds(self) -> None:
        """Put right what is told of projects whose waiting events are near their bound."""

    def mark_due(self, projects: Iterable[str]) -> None:
        """Let projects be found at once: events wait there for what has come."""

    def count_dead(self, reasons: Sequence[Reason]) -> None:
        """Add to the running totals of dead letters by reason."""

    def lease(self, work: str, holder: str, seconds: float) -> bool:
        """Return whether ``holder`` may do ``work`` for the next seconds, alone."""

    def count_attempt(self, digest: str) -> int:
        """Count a try of a delivery that may have killed a worker before; return the count."""

    def uncount_attempt(self, digest: str) -> None:
        """Take back one of these: that try was none."""

    def forget_attempts(self, digest: str) -> None:
        """The delivery did no harm."""


class Retention(Protocol):
    """What the janitor needs of the store; every method raises as those of `Store` do."""

    def lease(self, project: str, holder: str, seconds: float) -> bool:
        """Return whether ``holder`` may go over a project for the next seconds, alone."""

    def keep_lease(self, project: str, seconds: float) -> None:
        """Let nobody else go over a project for the next seconds."""

    def give_lease_back(self, project: str) -> None:
        """Let others go over a project at once."""

    def projects_due(self, now_s: float, gone_before_s: float) -> Iterator[str]:
        """Give the projects in which a key-id is due, or a tombstone that nothing stands on."""

    def due(self, project: str, now_s: float, limit: int) -> list[str]:
        """Return key-ids about which something is to be done, the longest due first."""

    def not_due(self, project: str, key_ids: Iterable[str], now_s: float) -> None:
        """Take key-ids out of the index that are due still: nothing is to be done about them."""

    def seen(self, project: str, key_ids: Sequence[str]) -> dict[str, KeySeen]:
        """Return those of these key-ids that are there, as they are now."""

    def count(
        self,
        project: str,
        key_ids: Iterable[str],
        scope_ids: Iterable[str],
        on_page: Callable[[int], None],
    ) -> Count:
        """Count in all sealed records who holds these key-ids, and what names these scopes' DEKs.

        Called after each page with its size: ``on_page``.
        """

    def destroy(
        self, project: str, seen: KeySeen, after: KeyRecord, *, is_last: bool, forget_at_s: float
    ) -> bool:
        """Destroy a key-id, if all is as it was seen; return whether it is done."""

    def put_right(self, project: str, held: StillHeld, seen: KeySeen) -> bool:
        """Set the counter of a key-id's holders to what was counted; make it active, if need be."""

    def lapse(self, project: str, seen: KeySeen, after: KeyRecord) -> bool:
        """Deactivate what was restored until now, if nobody has joined it meanwhile."""

    def gone(self, project: str, gone_before_s: float, limit: int) -> list[Buried]:
        """Return tombstones that no scope stands on."""

    def members(self, project: str, scope_id: str) -> Iterator[list[Buried] | None]:
        """Give the tombstones of a scope in pages; None for a page in which not all are gone."""

    def forget(
        self,
        project: str,
        gone: Sequence[Buried],
        scope: tuple[ScopeRecord, bytes] | None = None,
        keys: Mapping[str, bytes] | None = None,
    ) -> int:
        """Forget tombstones; with ``scope``, it and its key-ids, too, or nothing."""

    def reconciled_at(self, project: str) -> float | None:
        """Return when the project was last compared with an inventory, Unix seconds."""

    def report(self, fields: Mapping[str, str | int | float]) -> None:
        """Write what dashboards see of the janitor."""


class Reports(Protocol):
    """What dashboards see of a worker; best effort, never in the way of an event."""

    def write(self, report: Report) -> Pending[None]:
        """Write what has happened since the last report."""

    def count_if_due(self, now: float) -> None:
        """Go on adding up all projects, by one small step; now: Unix seconds."""


class AuditTrail(Protocol):
    """Where acts are recorded before what they are about leaves; one writer for each process."""

    writer: str
    """Its name, which no other process has had."""

    def open(self) -> None:
        """Connect what is not connected, so that it shows before anything is to be recorded.

        Raises:
            BrokerUnavailable: it cannot be reached now.
        """

    def record(self, records: Sequence[AuditRecord]) -> Pending[None]:
        """Send records; the answer comes when they survive a crash of the broker.

        Others may be sent meanwhile. The answer raises `NotRecorded` where that is not so: then
        what they are about must not be delivered, though they may come to be in the trail.

        Raises:
            NotRecorded: they cannot be sent now; they will not be in the trail.
        """

    def tick(self) -> None:
        """Send again what was not confirmed, and keep the connection; call about once a second."""

    def close(self) -> None:
        """Leave, after one more try with what was not confirmed."""


class Custody(Protocol):
    """The only place where key material is in the clear."""

    kek_id: str
    """The active KEK's fingerprint."""
    term: int
    """Which of the store's active KEKs, one after the other, that is."""

    def mint(self, project: str, scope: ScopeRecord) -> bytes:
        """Draw a DEK for the scope and return it wrapped under the active KEK.

        ``scope.kek_id`` must be `kek_id`. The blob unwraps only for this installation, project,
        scope-id, dek_id, cipher, key size and KEK.
        """

    def unwrap(self, project: str, scope: ScopeRecord, blob: bytes) -> bytes:
        """Return the DEK.

        Raises:
            UnknownKek: ``scope.kek_id`` is not in the keyring.
            PermanentError: with `Reason.INTEGRITY`, whatever else is wrong with it.
        """

    def seal(self, place: Place, body: bytes) -> bytes:
        """Return the record ``body`` + ``,"seal":"v2.<kek_id>.<hex>"}``.

        ``body`` is a JSON object without its closing brace.
        """

    def check_seal(self, place: Place, record: bytes) -> bytes:
        """Return the body of a sealed record that belongs to ``place``.

        Raises:
            UnknownKek: its KEK is not in the keyring.
            PermanentError: with `Reason.INTEGRITY`, whatever else is wrong with it.
        """
