"""Events that wait for their source: taken for a try, given back, let go, swept."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from kmworker.clock import Clock
from kmworker.domain.model import Item
from kmworker.domain.plan import Entry
from kmworker.domain.waiting import Swept, Taken
from kmworker.errors import UnknownKek
from kmworker.store.names import Names
from kmworker.store.records import RecordCodec, life_at
from kmworker.store.scripts import Scripts

__all__ = ["Entries"]

TAKE_KEYS: Final = ("waiting", "waiting:sources", "parked", "expired")
REMOVE_KEYS: Final = (
    "waiting", "waiting:deadlines", "waiting:sources", "parked", "expired", "stats",
    "waiting:shares",
)  # fmt: skip
RELEASE_KEYS: Final = ("waiting",)
SWEEP_KEYS: Final = (
    "waiting", "waiting:deadlines", "waiting:sources", "parked", "expired", "items",
)  # fmt: skip


class Entries:
    """The worker's side of the waiting rooms: `kmworker.ports.Store` says what each part does."""

    def __init__(self, scripts: Scripts, names: Names, codec: RecordCodec, clock: Clock) -> None:
        self._scripts = scripts
        self._names = names
        self._codec = codec
        self._clock = clock

    def take(self, sources: Sequence[Item], limit: int) -> list[list[Taken] | Exception]:
        """Take events that wait for each of ``sources``; each try is on disk as an attempt."""
        replies = self._scripts.run_each(
            [
                ("take", self._names.all_of(source.project, *TAKE_KEYS), [source.ref, limit])
                for source in sources
            ]
        )
        given = list(zip(sources, replies, strict=True))
        with self._no_try_without_kek((source.project, found) for source, found in given):
            return [
                found
                if isinstance(found, Exception)
                else [self._codec.taken(source, one) for one in found]
                for source, found in given
            ]

    def remove(self, entries: Sequence[Entry]) -> None:
        """Let entries leave the waiting room."""
        self._run(
            (
                "remove",
                REMOVE_KEYS,
                project,
                [part for e in share for part in (e.name, e.source_ref)],
            )
            for project, share in _by_project(entries).items()
        )

    def release(self, entries: Sequence[Entry]) -> None:
        """Take back the attempts counted for entries that could not be tried."""
        self._run(
            ("release", RELEASE_KEYS, project, [entry.name for entry in share])
            for project, share in _by_project(entries).items()
        )

    def sweep(self, project: str, limit: int, after: str) -> Swept:
        """Find due and orphaned entries of a project, marking what is past its deadline."""
        argv = [f"{self._clock.now():.3f}", limit, after]
        ((due, present, following),) = self._run([("sweep", SWEEP_KEYS, project, argv)])
        with self._no_try_without_kek([(project, due)]):
            return Swept(
                due=[self._codec.due(project, found) for found in due],
                present=[life_at(project, life)[0] for life in present],
                after=following.decode(),
            )

    def _run(self, calls: Iterable[tuple[str, Sequence[str], str, Sequence[Any]]]) -> list[Any]:
        named = [
            (script, self._names.all_of(project, *keys), argv)
            for script, keys, project, argv in calls
        ]
        return self._scripts.run(named) if named else []

    @contextmanager
    def _no_try_without_kek(
        self, found: Iterable[tuple[str, Sequence[Sequence[Any]] | Exception]]
    ) -> Iterator[None]:
        """Take back the attempts of events that the keyring alone kept from being tried."""
        try:
            yield
        except UnknownKek:
            self._run(
                ("release", RELEASE_KEYS, project, [name for name, *_ in events])
                for project, events in found
                if not isinstance(events, Exception)
            )
            raise


def _by_project(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    shares: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        shares[entry.source.project].append(entry)
    return shares
