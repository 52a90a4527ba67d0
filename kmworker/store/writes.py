"""The writes of a batch: sealed, sent as one script for each project, and what became of them."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from kmworker.clock import Clock, rfc3339
from kmworker.errors import PermanentError
from kmworker.plan import AssignWrite, ParkWrite, Write
from kmworker.ports import Commits, Committed, Outcome, Vault
from kmworker.store.connection import Client, store_errors
from kmworker.store.history import History
from kmworker.store.names import Names
from kmworker.store.records import RecordCodec, encode_write
from kmworker.store.scripts import Ahead, Call, Ending, Scripts

__all__ = ["Writes"]

COMMIT_KEYS: Final = (
    "items", "keys", "scopes", "deks", "lineage", "holders", "stats",
    "waiting", "waiting:deadlines", "waiting:sources", "parked",
)  # fmt: skip
# About where sealing a half of them begins to take longer than syncing once more.
WORTH_HALVING: Final = 64
CODES: Final = (
    Outcome.WRITTEN,
    Outcome.EXISTS,
    Outcome.STALE,
    Outcome.ORPHAN,
    Outcome.PARKED,
    Outcome.FULL,
)


class Writes:
    """How a worker writes: `kmworker.ports.Store` says what it does.

    Attributes:
        worth_halving: writes of a batch from which on it goes to Redis in two halves.
    """

    def __init__(  # noqa: PLR0913  # its parts; one place builds it
        self,
        client: Client,
        vault: Vault,
        *,
        names: Names,
        codec: RecordCodec,
        scripts: Scripts,
        history: History,
        clock: Clock,
        waiting_max: int,
        waiting_deadline_s: float,
    ) -> None:
        self._client = client
        self._vault = vault
        self._codec = codec
        self._names = names
        self._scripts = scripts
        self._history = history
        self._clock = clock
        self._waiting_max = waiting_max
        self._waiting_deadline_s = waiting_deadline_s
        self._known_projects: set[str] = set()
        self.worth_halving = WORTH_HALVING

    def forget_projects(self) -> None:
        """Write the name of each project again, with the next write to it."""
        self._known_projects.clear()

    def begin(self, writes: Sequence[Write]) -> Commits:
        """Begin `Store.commit`; what is returned is the rest of it."""
        shares: defaultdict[str, list[int]] = defaultdict(list)
        for index, write in enumerate(writes):
            shares[_project_of(write)].append(index)
        if not shares:
            return list
        self._register(shares)
        data: dict[int, bytes] = {}
        calls: list[Call] = []
        ahead: list[Ahead] = []
        left = len(writes)
        for project, indexes in shares.items():
            calls.append(self._commit_call(project, writes, indexes, data))
            left -= len(indexes)
            if not ahead and len(writes) >= self.worth_halving and 0 < left <= len(writes) / 2:
                # Redis writes these while the rest is sealed. Counted for themselves: if this
                # ends before the rest is sent, they are there and found, not written again.
                ahead, calls = [self._scripts.send(calls, self._history.counting())], []
        ending = self._scripts.start(calls, self._history.counting(), ahead)
        return lambda: self._committed_all(writes, shares, data, ending)

    def _commit_call(
        self,
        project: str,
        writes: Sequence[Write],
        indexes: Sequence[int],
        data: dict[int, bytes],
    ) -> Call:
        """Return the call that writes a project's share, and add each item's data to ``data``."""
        argv: list[Any] = [self._waiting_max]
        for index in indexes:
            write = writes[index]
            if isinstance(write, AssignWrite):
                arguments, data[index] = encode_write(self._codec, self._vault, write)
            else:
                arguments = self._park_arguments(write)
            argv += arguments
        return "commit", self._names.all_of(project, *COMMIT_KEYS), argv

    def _committed_all(
        self,
        writes: Sequence[Write],
        shares: Mapping[str, Sequence[int]],
        data: Mapping[int, bytes],
        ending: Ending,
    ) -> list[Committed]:
        replies, counts = ending()
        with store_errors():
            self._history.counted(counts)
        results: list[Committed] = [Committed(Outcome.STALE)] * len(writes)
        for indexes, reply in zip(shares.values(), replies, strict=True):
            for index, answer in zip(indexes, reply, strict=True):
                results[index] = self._committed(writes[index], answer, data.get(index, b""))
        return results

    def _register(self, projects: Iterable[str]) -> None:
        """Write the names of projects that this worker has not seen before."""
        new = [project for project in projects if project not in self._known_projects]
        if new:
            # A round trip of its own, once a project: were it refused in one pipeline with
            # the records (full, not permitted, wrong type), those would be written without it.
            with store_errors():
                self._client.sadd(self._names.top("projects"), *new)
            self._known_projects.update(new)

    def _park_arguments(self, write: ParkWrite) -> list[Any]:
        since = self._clock.now()
        deadline = since + self._waiting_deadline_s
        waiting = {
            "item": write.item.ref,
            "source": write.source.ref,
            "since": rfc3339(since),
            "deadline": rfc3339(deadline),
            "attempts": 0,
        }
        return [
            b"P",
            write.name,
            write.source.ref,
            self._codec.parked(write),
            json.dumps(waiting, separators=(",", ":")),
            f"{deadline:.3f}",
        ]

    def _committed(self, write: Write, answer: list[Any], data: bytes) -> Committed:
        code, record, waits = answer
        outcome = CODES[code]
        if not isinstance(write, AssignWrite):
            return Committed(outcome)
        item = write.assignment.item
        if outcome is Outcome.EXISTS:
            try:
                assignment, data = self._codec.read_item(item, record)
            except PermanentError:
                # Look it up: the decision says what becomes of a broken record.
                return Committed(Outcome.STALE)
            return Committed(outcome, assignment, data, bool(waits))
        if outcome is not Outcome.WRITTEN:
            # Never the plan's assignment: what is not stored must not be announced.
            return Committed(outcome)
        return Committed(outcome, write.assignment, data, bool(waits))


def _project_of(write: Write) -> str:
    item = write.assignment.item if isinstance(write, AssignWrite) else write.source
    return item.project
