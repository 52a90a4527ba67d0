"""The worker's side of the store: at most two round trips a batch.

Each project's share is one script, all shares one pipeline. What is returned from
`commit` is on disk (`appendfsync always` syncs before it replies).
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from redis.exceptions import RedisError

from kmworker.clock import Clock
from kmworker.domain.audit import Unsaid
from kmworker.domain.grants import GrantsSeen
from kmworker.domain.keks import KeyringTrouble
from kmworker.domain.model import Broken, Held, Item, Released, State, held_in
from kmworker.domain.plan import Committed, Entry, Write
from kmworker.domain.waiting import Due, Swept, Taken
from kmworker.errors import NotFound, PermanentError, Reason
from kmworker.ports import Answered, Custody, Pending
from kmworker.settings import WaitingSettings
from kmworker.store import leases
from kmworker.store.admission import Admission
from kmworker.store.commits import MAX_BELIEVED, read_commits
from kmworker.store.connection import Client, is_no_number, store_errors
from kmworker.store.crowds import Crowds
from kmworker.store.due import DueIndex
from kmworker.store.endings import Endings
from kmworker.store.endings_seen import EndingsSeen
from kmworker.store.entries import Entries
from kmworker.store.names import Names
from kmworker.store.outbox import Outbox
from kmworker.store.pipe import Replies, Then
from kmworker.store.recent import Recent, RecentRecords, Sealed
from kmworker.store.records import RecordCodec
from kmworker.store.scripts import Answers, Scripts
from kmworker.store.wraps import MAX_LOST_WRAPS, Wraps
from kmworker.store.writes import Writes

__all__ = ["RedisStore"]

LOOKUP_KEYS: Final = ("items", "keys", "scopes", "deks", "waiting:sources")
FIELDS_PER_ITEM: Final = 5
ATTEMPTS_KEPT_S: Final = 86_400


class StoreCustody(Custody, Protocol):
    """What a custody must do for a store."""

    @property
    def kek_ids(self) -> frozenset[str]:
        """Return the fingerprints of all KEKs in the keyring."""
        ...


class RedisStore:
    """A `Store` on Redis 7.0 or newer, or Valkey."""

    def __init__(  # noqa: PLR0913  # its parts; one place builds it
        self,
        client: Client,
        custody: StoreCustody,
        *,
        names: Names,
        admission: Admission,
        clock: Clock,
        waiting: WaitingSettings,
        records: bool = False,
    ) -> None:
        """Prepare; nothing is sent yet.

        ``records``: whether what becomes of attachments is kept for the audit trail.
        """
        self._client = client
        self._custody = custody
        self._codec = RecordCodec(custody, admission.may_open)
        self._names = names
        self._admission = admission
        self._history = admission.history
        self._scripts = Scripts(client)
        self._entries = Entries(self._scripts, names, self._codec, clock)
        self._crowds = Crowds(client, names)
        self._due = DueIndex(client, names, self._scripts, clock)
        self._outbox = Outbox(client, names, self._codec, clock, waiting.sweep_s)
        self._recent = RecentRecords()
        self._seen = EndingsSeen(client, names, self._codec)
        self._endings = Endings(client, names, self._codec)
        self._wraps = Wraps(client, names, custody)
        self._writes = Writes(
            client,
            custody,
            names=names,
            codec=self._codec,
            recent=self._recent,
            scripts=self._scripts,
            history=self._history,
            due=self._due,
            crowds=self._crowds,
            outbox=self._outbox,
            wraps=self._wraps,
            endings=self._endings,
            seen=self._seen,
            on_fence=admission.pass_fence,
            on_states=admission.follow_if_changed,
            clock=clock,
            waiting=waiting,
            records=records,
        )

    def admit(self) -> str:
        """Check that this store may be used; see `Admission.admit`."""
        self._recent.clear()
        self._endings.clear()
        self._wraps.forget()
        return self._admission.admit()

    def follow_keyring(self) -> None:
        """Take up what has become of KEKs, and of the keyring file; see `Admission.follow`."""
        self._admission.follow()

    def keyring_trouble(self) -> KeyringTrouble | None:
        """Return why a changed keyring file is not taken up; see `Admission`."""
        return self._admission.keyring_trouble

    def layout_is_newer(self) -> bool:
        """Return whether a later release has changed the layout of what was admitted."""
        return self._admission.is_newer

    def commits(self) -> int:
        """Count what is written and not counted yet; return the newest number on disk."""
        with store_errors():
            self._history.add()
        return self._history.number

    def refuse_if_behind(self, anchored: int) -> None:
        """Compare the store with a count that was kept elsewhere."""
        with store_errors():
            self._history.refuse_if_behind(anchored)

    def endings(self) -> int:
        """Look at some chains of endings; return how many entries all are known to have."""
        flaws, _is_whole = self._seen.look_at_some()
        self._refuse_lost(flaws)
        return self._seen.total

    def refuse_if_endings_lack(self, anchored: int) -> None:
        """Compare all chains of endings with a number of entries that was kept elsewhere."""
        if self._seen.total >= anchored:
            # None that was seen becomes shorter unseen: see `endings`.
            return
        flaws = self._seen.look_at_all()
        if not flaws and self._seen.total < anchored:
            flaws = [f"of {anchored} endings it has {self._seen.total}"]
        self._refuse_lost(flaws)

    def _refuse_lost(self, flaws: Sequence[str]) -> None:
        if flaws:
            with store_errors():
                self._history.refuse(flaws[0])
            # It is to be lived with, and said once.
            self._seen.clear()

    def accept(self, incident: str, at_least: int) -> int:
        """Let this store be used although it was rolled back.

        Args:
            incident: its name, which whoever decides this has read.
            at_least: the newest number of commits that was kept elsewhere.

        Returns:
            The number of commits from which on counting goes: more than any that was seen, but
            for one that can only be forged.

        Raises:
            NotFound: there is no such incident.
        """
        keys = [self._names.top("commits"), self._names.top("wraps")]
        with store_errors():
            found = read_commits(self._client, self._names)
        left = found.sum - found.forgiven
        seen = at_least if at_least <= MAX_BELIEVED else 0
        # Also of those that the store has not heard of yet, or not any more.
        kek_ids = sorted(self._custody.kek_ids)
        argv = [incident, seen, left, MAX_BELIEVED, MAX_LOST_WRAPS, *kek_ids]
        (number,) = self._scripts.run([("accept", keys, argv)])
        if not number:
            hint = "a worker that refuses the store names it; kmworker doctor does, too"
            raise NotFound(f"the store has no incident {incident}", hint)
        return int(number)

    def look_up(self, items: Iterable[Item]) -> Pending[dict[Item, State]]:
        """Ask what is known of each item, in one round trip."""
        shares: defaultdict[str, list[Item]] = defaultdict(list)
        for item in items:
            shares[item.project].append(item)
        calls = [
            ("lookup", self._names.all_of(project, *LOOKUP_KEYS), [item.ref for item in share])
            for project, share in shares.items()
        ]
        if not calls:
            return Answered({})
        answers = self._scripts.start(calls)
        return Then(answers, lambda: self._known(shares, answers.result()))

    def _known(self, shares: Mapping[str, Sequence[Item]], answers: Answers) -> dict[Item, State]:
        answers.raise_error()
        known: dict[Item, State] = {}
        for share, reply in zip(shares.values(), answers.calls, strict=True):
            for index, item in enumerate(share):
                at = index * FIELDS_PER_ITEM
                found = reply[at : at + FIELDS_PER_ITEM]
                known[item] = self._codec.state(item, found)
                self._remember(item, known[item], found)
        return known

    def _remember(self, item: Item, state: State, found: Sequence[Any]) -> None:
        if isinstance(state, Held | Released):
            held = held_in(state)
            has_key = held is not None and held.key is not None
            self._recent.put(Recent(state, Sealed(*found[: 3 if has_key else 1])))
        else:
            self._recent.forget(item)

    def look_up_grants(
        self, items: Collection[Item]
    ) -> Pending[dict[Item, GrantsSeen | Broken | None]]:
        """Ask who may have each item's key because it is attached there, in one round trip."""
        if not items:
            return Answered({})
        asked = list(items)
        names = self._names
        with store_errors():
            replies = self._client.pipe.send(
                [("HGET", names.of(it.project, "grants"), it.ref) for it in asked]
            )
        return Then(replies, lambda: self._granted(asked, replies))

    def _granted(
        self, items: Sequence[Item], replies: Replies
    ) -> dict[Item, GrantsSeen | Broken | None]:
        with store_errors(of_project=True):
            records = replies.result()
            for record in records:
                if isinstance(record, RedisError):
                    raise record
        return {
            item: self._grants_of(item, record) for item, record in zip(items, records, strict=True)
        }

    def _grants_of(self, item: Item, record: bytes | None) -> GrantsSeen | Broken | None:
        try:
            return None if record is None else self._codec.read_grants(item, record)
        except PermanentError as broken:
            return Broken(broken.detail)

    def recall(self, items: Iterable[Item]) -> dict[Item, Held | Released]:
        """Return what was sent or verified lately of these items."""
        return self._recent.recall(items)

    def commit(self, writes: Sequence[Write]) -> Pending[list[Committed]]:
        """Write all, in one round trip; a result for each write, in order."""
        return self._writes.commit(writes)

    def unsaid(self) -> list[Unsaid]:
        """Return some of what may not have been announced, or recorded."""
        return self._outbox.unsaid()

    def said(self, changes: Sequence[Unsaid]) -> None:
        """Note that these have been announced and recorded."""
        self._outbox.said(changes)

    def take(self, sources: Sequence[Item], limit: int) -> list[list[Taken] | Exception]:
        """Take events that wait for each of ``sources``; each try is on disk as an attempt."""
        return self._entries.take(sources, limit)

    def remove(self, entries: Sequence[Entry]) -> None:
        """Let entries leave the waiting room."""
        self._entries.remove(entries)

    def release(self, entries: Sequence[Entry]) -> None:
        """Take back the attempts counted for entries that could not be tried."""
        self._entries.release(entries)

    def sweep(self, project: str, limit: int, after: str) -> Swept:
        """Find due and orphaned entries of a project, marking what is past its deadline."""
        return self._entries.sweep(project, limit, after)

    def time_s(self) -> float:
        """Return the store's time, Unix seconds."""
        with store_errors():
            seconds, microseconds = self._client.time()
        return float(seconds) + float(microseconds) / 1e6

    def count_dead(self, reasons: Sequence[Reason]) -> None:
        """Add to the running totals of dead letters by reason."""
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for reason, number in Counter(reasons).items():
                pipeline.hincrby(self._names.top("dead"), reason.value, number)
            for reply in pipeline.execute(raise_on_error=False):
                # A total that someone wrote over stops no dead letter, and repeats none.
                if isinstance(reply, RedisError) and not (
                    is_no_number(reply) or "WRONGTYPE" in str(reply)
                ):
                    raise reply

    def due(self, limit: int) -> list[Due]:
        """Return projects with something to do in their waiting rooms, the longest due first."""
        return self._due.due(limit)

    def look_again(self, looked_at: Sequence[tuple[Due, float | None]]) -> None:
        """Let each project be found again: at its next deadline, or after so many seconds."""
        self._due.look_again(looked_at)

    def review_crowds(self) -> None:
        """Put right what is told of projects near their bound."""
        self._crowds.review()

    def mark_due(self, projects: Iterable[str]) -> None:
        """Let projects be found at once: events wait there for what has come."""
        self._due.mark(projects)

    def lease(self, work: str, holder: str, seconds: float) -> bool:
        """Return whether ``holder`` may do ``work`` for the next seconds, alone."""
        with store_errors():
            return leases.take(self._client, self._names.lease(work), holder, seconds)

    def count_attempt(self, digest: str) -> int:
        """Count, on disk, a try of a delivery that may have killed its worker before."""
        key = self._names.top("attempts")
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            pipeline.hincrby(key, digest, 1)
            # Crash loops are short; what is left of one goes with the last of them.
            pipeline.expire(key, ATTEMPTS_KEPT_S)
            attempts, _expiry = pipeline.execute(raise_on_error=False)
            if isinstance(attempts, RedisError):
                if not is_no_number(attempts):
                    raise attempts
                self._client.hset(key, digest, 1)
                return 1
            return int(attempts)

    def uncount_attempt(self, digest: str) -> None:
        """Take back one try that was counted."""
        key = self._names.top("attempts")
        with store_errors():
            try:
                left = self._client.hincrby(key, digest, -1)
            except RedisError as error:
                # Counted anew, from one, at its next try.
                if not is_no_number(error):
                    raise
                left = 0
            if left <= 0:
                self._client.hdel(key, digest)

    def forget_attempts(self, digest: str) -> None:
        """The delivery did not kill this worker."""
        with store_errors():
            self._client.hdel(self._names.top("attempts"), digest)
