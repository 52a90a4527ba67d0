"""The writes of a batch: sealed, sent as one script for each project, and what became of them."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from redis.exceptions import RedisError

from kmworker.clock import Clock, rfc3339
from kmworker.domain.model import Held, Item, ScopeRecord
from kmworker.domain.plan import (
    AssignWrite,
    Committed,
    GrantWrite,
    ParkWrite,
    ReleaseWrite,
    Write,
    WriteStatus,
    ended_by,
)
from kmworker.errors import PermanentError
from kmworker.ports import Answered, Custody, Pending
from kmworker.settings import WaitingSettings
from kmworker.store.connection import Client, store_errors
from kmworker.store.crowds import Crowds
from kmworker.store.due import DueIndex
from kmworker.store.encoding import encode_assignment, encode_release
from kmworker.store.endings import Endings
from kmworker.store.endings_seen import EndingsSeen
from kmworker.store.kek_states import STATES
from kmworker.store.names import Names
from kmworker.store.outbox import Outbox
from kmworker.store.pipe import Command, Then
from kmworker.store.recent import UNSEALED, Recent, RecentRecords
from kmworker.store.recordable import seal_grants_changed
from kmworker.store.records import RecordCodec
from kmworker.store.rollback import History, Made
from kmworker.store.scripts import Ahead, Answers, Call, Scripts
from kmworker.store.wraps import Wraps

__all__ = ["Writes"]

COMMIT_KEYS: Final = (
    "items", "keys", "scopes", "deks", "lineage", "holders", "stats",
    "waiting", "waiting:deadlines", "waiting:sources", "parked", "waiting:shares", "commits",
    "fence",
)  # fmt: skip
# Where a write clones or releases, changes a key-id, or grants.
LIFE_KEYS: Final = ("outbox", "keys:due", "clones", "tombstones", "grants", "unrecorded")
# About where sealing a half of them begins to take longer than syncing once more.
WORTH_HALVING: Final = 64
# Replies to `History.looking`, before those to what marks projects as due.
LOOKING: Final = 2
CODES: Final = (
    WriteStatus.WRITTEN,
    WriteStatus.EXISTS,
    WriteStatus.STALE,
    WriteStatus.ORPHAN,
    WriteStatus.PARKED,
    WriteStatus.FULL,
)


class _Sent(NamedTuple):
    """A batch on its way."""

    writes: Sequence[Write]
    shares: Mapping[str, Sequence[int]]
    made: Mapping[int, Recent]
    before: Mapping[str, int]
    telling: int
    """How many commands are behind those of `History.looking`; then come so many:"""
    marking: int
    reserving: Sequence[Command]


class Writes:
    """How a worker writes: `kmworker.ports.Store` says what it does.

    Attributes:
        worth_halving: writes of a batch from which on it goes to Redis in two halves.
    """

    def __init__(  # noqa: PLR0913  # its parts; one place builds it
        self,
        client: Client,
        custody: Custody,
        *,
        names: Names,
        codec: RecordCodec,
        recent: RecentRecords,
        scripts: Scripts,
        history: History,
        due: DueIndex,
        crowds: Crowds,
        outbox: Outbox,
        wraps: Wraps,
        endings: Endings,
        seen: EndingsSeen,
        on_fence: Callable[[int], None],
        on_states: Callable[[bytes | None], None],
        clock: Clock,
        waiting: WaitingSettings,
        records: bool,
    ) -> None:
        self._client = client
        self._custody = custody
        self._codec = codec
        self._recent = recent
        self._names = names
        self._scripts = scripts
        self._history = history
        self._due = due
        self._crowds = crowds
        self._outbox = outbox
        self._wraps = wraps
        self._endings = endings
        self._seen = seen
        self._on_fence = on_fence
        self._on_states = on_states
        self._clock = clock
        self._waiting = waiting
        self._records = records
        self.worth_halving = WORTH_HALVING

    def commit(self, writes: Sequence[Write]) -> Pending[list[Committed]]:
        """Send all writes; a result for each, in order."""
        shares: defaultdict[str, list[int]] = defaultdict(list)
        for index, write in enumerate(writes):
            shares[_project_of(write)].append(index)
        if not shares:
            return Answered([])
        if self._register(shares):
            return Answered([Committed(WriteStatus.STALE)] * len(writes))
        ending = {it.item.project for it in writes if isinstance(it, GrantWrite) and it.is_end}
        self._look_at_endings(ending)
        before = self._history.newest(shares)
        made: dict[int, Recent] = {}
        calls: list[Call] = []
        ahead: list[Ahead] = []
        left = len(writes)
        for project, indexes in shares.items():
            calls.append(self._commit_call(project, writes, indexes, made))
            left -= len(indexes)
            if not ahead and len(writes) >= self.worth_halving and 0 < left <= len(writes) / 2:
                # Redis writes these while the rest is sealed. If this ends before the rest is
                # sent, they are there and found, not written again.
                ahead, calls = [self._scripts.send(calls)], []
        # Behind what is parked: whatever is acknowledged is in the index.
        parking = {write.source.project for write in writes if isinstance(write, ParkWrite)}
        marking = self._due.marking(sorted(parking), self._waiting.deadline_s)
        changing = {write.item.project for write in writes if self._may_be_unsaid(write)}
        telling = self._outbox.marking(sorted(changing), self._waiting.sweep_s) if changing else []
        history = self._history
        reserving = self._wraps.reserving()
        then = [*history.looking(), *telling, *marking, *reserving]
        answers = self._scripts.start(calls, then, once=history.adding(), ahead=ahead)
        sent = _Sent(writes, shares, made, before, len(telling), len(marking), reserving)
        return Then(answers, lambda: self._committed_all(sent, answers.result()))

    def _commit_call(
        self, project: str, writes: Sequence[Write], indexes: Sequence[int], made: dict[int, Recent]
    ) -> Call:
        """Return the call that writes a project's share, and add to ``made`` what each writes."""
        argv: list[Any] = [self._waiting.max_bytes, self._custody.term]
        names: Sequence[str] = COMMIT_KEYS
        is_ending = False
        for index in indexes:
            write = writes[index]
            if isinstance(write, ParkWrite):
                argv += self._park_arguments(write)
                continue
            if _needs_life_keys(write):
                names = (*COMMIT_KEYS, *LIFE_KEYS)
            if isinstance(write, GrantWrite):
                argv += self._grant_arguments(write)
                is_ending = is_ending or write.is_end
                continue
            arguments, recent = self._encoded(write)
            made[index] = recent
            # Before it is written: what rests on it is compared behind that.
            self._recent.put(recent)
            argv += arguments
        if is_ending:
            names = (*COMMIT_KEYS, *LIFE_KEYS, "endings")
            over = ended_by(writes[index] for index in indexes)
            argv += ["E", *self._endings.follow(project, over)]
        return "commit", self._names.all_of(project, *names), argv

    def _look_at_endings(self, projects: Iterable[str]) -> None:
        """Look where those chains end that are to become longer.

        Raises:
            SetupError: one is shorter than it was.
            PermanentError: with `Reason.INTEGRITY`: one is not as it was sealed.
        """
        for project, number in self._endings.read(projects).items():
            if flaw := self._seen.note(project, number):
                self._history.refuse(flaw)

    def _encoded(self, write: AssignWrite | ReleaseWrite) -> tuple[list[Any], Recent]:
        sealed = self._recent.sealed
        before = UNSEALED if write.before is None else sealed(write.before)
        if isinstance(write, ReleaseWrite):
            return encode_release(self._codec, write, before, is_told=self._records)
        source = UNSEALED if write.source is None else sealed(write.source)
        return encode_assignment(self._codec, self._mint, write, source, before)

    def _mint(self, project: str, scope: ScopeRecord) -> bytes:
        self._wraps.take()
        return self._custody.mint(project, scope)

    def _committed_all(self, sent: _Sent, answers: Answers) -> list[Committed]:
        writes, shares = sent.writes, sent.shares
        replies = dict(zip(shares, answers.calls, strict=True))
        marked_from = LOOKING + sent.telling
        reserved_from = marked_from + sent.marking
        with store_errors():
            # Also if one of them is an error: the others are written.
            self._history.made(_made(replies, sent.before), answers.once, answers.then[:LOOKING])
        answers.raise_error()
        self._outbox.marked(answers.then[LOOKING:marked_from])
        self._due.marked(answers.then[marked_from:reserved_from])
        self._wraps.reserved(sent.reserving, answers.then[reserved_from:])
        results: list[Committed] = [Committed(WriteStatus.STALE)] * len(writes)
        fence = 0
        for project, (outcomes, _number, _has_written, fenced) in replies.items():
            fence = max(fence, fenced)
            for index, answer in zip(shares[project], outcomes, strict=True):
                results[index] = self._committed(writes[index], answer, sent.made.get(index))
        self._crowds.note(_crowds(writes, shares, replies))
        if fence:
            # Before they are planned again.
            self._on_fence(fence)
        return results

    def _register(self, projects: Iterable[str]) -> bool:
        """Write the names of projects that this worker has not seen before.

        Return whether another KEK is active: then all is to be planned again. Whoever rewraps
        fences the projects that are listed: what is listed later is begun under the active KEK.
        """
        new = self._history.unlisted(projects)
        if not new:
            return False
        # A round trip of its own, once a project: were it refused in one pipeline with
        # the records (full, not permitted, wrong type), those would be written without it.
        listing = ("SADD", self._names.top("projects"), *new)
        with store_errors():
            asking = ("HGET", self._names.top("keyring"), STATES)
            reserving = self._wraps.reserving()
            sent = self._client.pipe.send([listing, asking, *reserving])
            added, states, *reserved = sent.result()
            for reply in (added, states):
                if isinstance(reply, RedisError):
                    raise reply
        self._history.listed(new)
        self._wraps.reserved(reserving, reserved)
        term = self._custody.term
        self._on_states(states)
        return self._custody.term != term

    def _park_arguments(self, write: ParkWrite) -> list[Any]:
        since = self._clock.now()
        deadline = since + self._waiting.deadline_s
        waiting = {
            "item": write.item.ref,
            "source": write.source_ref,
            "since": rfc3339(since),
            "deadline": rfc3339(deadline),
            "attempts": 0,
        }
        return [
            b"P",
            write.name,
            write.source_ref,
            self._codec.parked(write),
            json.dumps(waiting, separators=(",", ":")),
            f"{deadline:.3f}",
            write.item.project,
            self._waiting.foreign_max if _is_foreign(write) else self._waiting.max,
        ]

    def _grant_arguments(self, write: GrantWrite) -> list[Any]:
        before = b"" if write.before is None else write.before.record
        after = self._codec.grants(write.item, write.after)
        told: tuple[str, bytes] = ("", b"")
        if self._records:
            told = seal_grants_changed(self._codec, write.changed)
        return [b"G", write.item.ref, before, after, *told]

    def _may_be_unsaid(self, write: Write) -> bool:
        """Return whether it may leave something to be announced or recorded."""
        if self._records and isinstance(write, GrantWrite | ReleaseWrite):
            return True
        return _may_change_key(write)

    def _committed(self, write: Write, answer: list[Any], made: Recent | None) -> Committed:
        code, record, waits = answer
        outcome = CODES[code]
        # Most are, and each question costs every event.
        if outcome is WriteStatus.WRITTEN and isinstance(write, AssignWrite):
            return self._assigned(write, made, has_waiting=bool(waits))
        if isinstance(write, ParkWrite) and outcome is WriteStatus.FULL:
            return Committed(outcome, detail=self._bound_met(write, record.partition(b" ")[0]))
        if isinstance(write, ParkWrite | GrantWrite):
            if isinstance(write, GrantWrite) and outcome is WriteStatus.STALE:
                # Others may have made the chain longer.
                self._endings.forget(write.item.project)
            return Committed(outcome)
        if outcome is WriteStatus.WRITTEN:
            if record:
                # Its key-id is another record now.
                self._recent.forget(write.item)
            return Committed(outcome, has_waiting=bool(waits), has_deactivated=bool(record))
        item = write.item
        self._recent.forget(item)
        if outcome is WriteStatus.EXISTS:
            return self._existing(item, record, waits)
        if isinstance(write, AssignWrite) and write.source is not None:
            self._recent.forget(write.source.item)
        # Never the plan's assignment: what is not stored must not be announced.
        return Committed(outcome)

    def _assigned(self, write: AssignWrite, made: Recent | None, *, has_waiting: bool) -> Committed:
        assert made is not None  # noqa: S101  # what is written was encoded
        if write.changed is not None and write.source is not None:
            self._recent.forget(write.source.item)
        data = made.known.data if isinstance(made.known, Held) else b""
        return Committed(WriteStatus.WRITTEN, write.assignment, data, has_waiting)

    def _existing(self, item: Item, record: bytes, waits: int) -> Committed:
        try:
            read = self._codec.read_item(item, record)
        except PermanentError:
            pass
        else:
            if read.assignment is not None and read.tombstone is None:
                return Committed(WriteStatus.EXISTS, read.assignment, read.data, bool(waits))
        # Look it up: the decision says what becomes of a broken record.
        return Committed(WriteStatus.STALE)

    def _bound_met(self, write: ParkWrite, bound: bytes) -> str:
        """Say whose events wait for whose items, and at which bound they are."""
        waiting, project = self._waiting, write.item.project
        which = "their sources"
        if _is_foreign(write):
            which = f"items of project {write.source.project}"
        if bound == b"bytes":
            said = f"of project {project} that wait for {which} have {waiting.max_bytes:,} bytes"
            return f"the events {said} (waiting.max_bytes)"
        most, name = waiting.max, "max"
        if _is_foreign(write):
            most, name = waiting.foreign_max, "foreign_max"
        return f"{most:,} events of project {project} wait for {which} (waiting.{name})"


def _crowds(
    writes: Sequence[Write], shares: Mapping[str, Sequence[int]], replies: Mapping[str, Any]
) -> dict[str, bytes]:
    """Return whose events are near their bound, as the last write of each has seen it."""
    found: dict[str, bytes] = {}
    for project, (outcomes, *_counted) in replies.items():
        for index, (_code, record, _waits) in zip(shares[project], outcomes, strict=True):
            write = writes[index]
            if isinstance(write, ParkWrite) and record:
                crowd = record[record.index(b"{") :]
                found[f"{write.item.project} {write.source.project}"] = crowd
    return found


def _is_foreign(write: ParkWrite) -> bool:
    return write.item.project != write.source.project


def _made(replies: Mapping[str, Any], before: Mapping[str, int]) -> list[Made]:
    return [
        Made(project, reply[1], bool(reply[2]), before[project])
        for project, reply in replies.items()
        if not isinstance(reply, RedisError)
    ]


def _needs_life_keys(write: AssignWrite | ReleaseWrite | GrantWrite) -> bool:
    if isinstance(write, AssignWrite):
        return write.key is not None and write.scope is None
    return True


def _may_change_key(write: Write) -> bool:
    if isinstance(write, AssignWrite):
        # Asked of every event.
        key = write.key
        return key is not None and key.changed is not None
    return isinstance(write, ReleaseWrite) and write.deactivated is not None


def _project_of(write: Write) -> str:
    return write.source.project if isinstance(write, ParkWrite) else write.item.project
