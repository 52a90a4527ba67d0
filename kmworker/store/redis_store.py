"""The worker's side of the store: two round trips a batch.

Each project's share is one script, all shares one pipeline. What is returned from
`commit` is on disk (`appendfsync always` syncs before it replies).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from redis.exceptions import RedisError

from kmworker.clock import Clock
from kmworker.errors import NotFound, Reason
from kmworker.model import Item, State
from kmworker.plan import Entry, Write
from kmworker.ports import Commits, Committed, Known, Swept, Taken, Vault
from kmworker.store.admission import Admission
from kmworker.store.connection import Client, is_no_number, store_errors
from kmworker.store.entries import Entries
from kmworker.store.names import Names
from kmworker.store.records import RecordCodec
from kmworker.store.scripts import Ending, Scripts
from kmworker.store.writes import Writes

__all__ = ["RedisStore"]

LOOKUP_KEYS: Final = ("items", "keys", "scopes", "deks", "waiting:sources")
FIELDS_PER_ITEM: Final = 5
ATTEMPTS_KEPT_S: Final = 86_400


class RedisStore:
    """A `Store` on Redis 7.0 or newer, or Valkey."""

    def __init__(  # noqa: PLR0913  # its parts; one place builds it
        self,
        client: Client,
        vault: Vault,
        *,
        names: Names,
        admission: Admission,
        clock: Clock,
        waiting_max: int,
        waiting_deadline_s: float,
    ) -> None:
        self._client = client
        self._codec = RecordCodec(vault)
        self._names = names
        self._admission = admission
        self._history = admission.history
        self._scripts = Scripts(client)
        self._entries = Entries(self._scripts, names, self._codec, clock)
        self._writes = Writes(
            client,
            vault,
            names=names,
            codec=self._codec,
            scripts=self._scripts,
            history=self._history,
            clock=clock,
            waiting_max=waiting_max,
            waiting_deadline_s=waiting_deadline_s,
        )

    def admit(self) -> str:
        """Check that this store may be used; see `Admission.admit`."""
        source = self._admission.admit()
        # After a reconnection it may be another server: project names are written again.
        self._writes.forget_projects()
        return source

    def commits(self) -> int:
        """Return the newest number of commits known to be on disk."""
        return self._history.number

    def refuse_if_behind(self, anchored: int) -> None:
        """Compare the store with a count that was kept elsewhere."""
        with store_errors():
            self._history.refuse_if_behind(anchored)

    def accept(self, incident: str, at_least: int) -> None:
        """Let this store be used although it went back in time.

        Args:
            incident: its name, which whoever decides this has read.
            at_least: the newest number of commits that was kept elsewhere.

        Raises:
            NotFound: there is no such incident.
        """
        key = self._names.top("commits")
        (accepted,), _none = self._scripts.run([("accept", [key], [incident, at_least])])
        if not accepted:
            hint = "a worker that refuses the store names it; kmworker doctor does, too"
            raise NotFound(f"the store has no incident {incident}", hint)

    def look_up(self, items: Iterable[Item]) -> dict[Item, State]:
        """Return what is known of each item, in one round trip."""
        return self.ask(items)()

    def ask(self, items: Iterable[Item]) -> Known:
        """Begin `look_up`; what is returned is the rest of it."""
        shares: defaultdict[str, list[Item]] = defaultdict(list)
        for item in items:
            shares[item.project].append(item)
        calls = [
            ("lookup", self._names.all_of(project, *LOOKUP_KEYS), [item.ref for item in share])
            for project, share in shares.items()
        ]
        if not calls:
            return dict
        ending = self._scripts.start(calls)
        return lambda: self._known(shares, ending)

    def _known(self, shares: Mapping[str, Sequence[Item]], ending: Ending) -> dict[Item, State]:
        replies, _none = ending()
        known: dict[Item, State] = {}
        for share, reply in zip(shares.values(), replies, strict=True):
            for index, item in enumerate(share):
                at = index * FIELDS_PER_ITEM
                known[item] = self._codec.state(item, reply[at : at + FIELDS_PER_ITEM])
        return known

    def commit(self, writes: Sequence[Write]) -> list[Committed]:
        """Write all, in one round trip; a result for each write, in order."""
        return self.write(writes)()

    def write(self, writes: Sequence[Write]) -> Commits:
        """Begin `commit`; what is returned is the rest of it."""
        return self._writes.begin(writes)

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

    def count_dead(self, reasons: Sequence[Reason]) -> None:
        """Add to the running totals of dead letters by reason."""
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for reason, number in Counter(reasons).items():
                pipeline.hincrby(self._names.top("dead"), reason.value, number)
            for reply in pipeline.execute(raise_on_error=False):
                # A total that someone put text into stops no dead letter.
                if isinstance(reply, RedisError) and not is_no_number(reply):
                    raise reply

    def projects(self) -> list[str]:
        """Return every project that has or had a record."""
        with store_errors():
            return [name.decode() for name in self._client.sscan_iter(self._names.top("projects"))]

    def lease(self, work: str, holder: str, seconds: float) -> bool:
        """Say whether ``holder`` may do ``work`` for the next seconds, alone."""
        with store_errors():
            return bool(
                self._client.set(
                    self._names.lease(work), holder, nx=True, px=math.ceil(seconds * 1000)
                )
            )

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

    def forget_attempts(self, digest: str) -> None:
        """The delivery did not kill this worker."""
        with store_errors():
            self._client.hdel(self._names.top("attempts"), digest)
