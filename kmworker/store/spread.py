"""How many records and wrapped DEKs are under each KEK, of all projects together.

This takes a look at every record. So it is counted in Redis, by pages, slowly, and by itself: what
needs no such look (`kmworker.store.census`) does not wait for it. Seals are not checked: it tells
an operator how far a rewrap has come; `keyring retire` counts for itself.
"""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from redis.exceptions import RedisError

from kmworker.store.client import Client
from kmworker.store.counts import number_in
from kmworker.store.kek_states import STATES, keks_named
from kmworker.store.names import Names
from kmworker.store.scripts import Scripts
from kmworker.store.slow_count import SlowCount
from kmworker.store.wraps import WRAPS, most_wraps

__all__ = ["COUNTED_AT", "UNKNOWN", "Spread", "field_of"]

COUNTED_AT: Final = "keks_counted_at"
UNKNOWN: Final = "unknown"
"""In place of a kek_id: of KEKs that the store does not know, or of none."""
KEYS: Final = ("items", "keys", "scopes", "parked", "outbox", "grants", "unrecorded", "stats")
# At least, from the end of one count to the beginning of the next.
EVERY_S: Final = 60.0
# Projects, and records of all of them, in one step: some two milliseconds of Redis' time.
PROJECTS_AT_ONCE: Final = 100
RECORDS_AT_ONCE: Final = 500
# Of each project at least, where there are many.
LEAST_RECORDS: Final = 10
# Forged seals may name any.
MAX_KEKS: Final = 1000
DONE: Final = 0
FIRST: Final = (1, b"0")


def field_of(what: str, kek_id: str) -> str:
    """Return the name of a number about a KEK, in ``km:totals``.

    Args:
        what: ``records``, ``deks``, ``projects`` or ``wraps``.
        kek_id: of the KEK, or `UNKNOWN`.
    """
    return f"{what}:{kek_id}"


@dataclass(slots=True)
class _OfProject:
    """What is counted in one project so far, by kek_id."""

    at: tuple[int, bytes] = FIRST
    """Which of its keys is to be gone on with, and where."""
    records: Counter[str] = field(default_factory=Counter)
    deks: Counter[str] = field(default_factory=Counter)
    wraps: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Total:
    """What is counted in all projects so far, by kek_id."""

    records: Counter[str] = field(default_factory=Counter)
    deks: Counter[str] = field(default_factory=Counter)
    projects: Counter[str] = field(default_factory=Counter)
    wraps: Counter[str] = field(default_factory=Counter)
    most_wraps: Counter[str] = field(default_factory=Counter)
    most_deks: Counter[str] = field(default_factory=Counter)

    def add(self, one: _OfProject) -> None:
        records, deks = self._bounded(one.records), self._bounded(one.deks)
        self.records += records
        self.deks += deks
        self.projects.update(records.keys() | deks.keys())
        self.wraps.update(one.wraps)
        self.most_wraps |= Counter(one.wraps)
        self.most_deks |= deks

    def _bounded(self, numbers: Counter[str]) -> Counter[str]:
        if len(self.records) < MAX_KEKS:
            return numbers
        bounded: Counter[str] = Counter()
        for kek_id, number in numbers.items():
            bounded[kek_id if kek_id in self.records else UNKNOWN] += number
        return bounded

    def fields(self, known: Iterable[str], reserved: Mapping[str, int]) -> dict[str, int]:
        """Return what ``km:totals`` is to say; zeros, too, in place of what it said before."""
        kek_ids = set(known)
        fields: dict[str, int] = {}
        for what, numbers in (
            ("records", self.records), ("deks", self.deks), ("projects", self.projects),
        ):  # fmt: skip
            of_known = {kek_id: numbers[kek_id] for kek_id in kek_ids}
            of_known[UNKNOWN] = numbers.total() - sum(of_known.values())
            fields |= {field_of(what, kek_id): number for kek_id, number in of_known.items()}
        for kek_id in kek_ids:
            most = most_wraps(reserved.get(kek_id, 0), self.wraps[kek_id], self.most_wraps[kek_id])
            # Also where somebody has taken the counts away.
            fields[field_of("wraps", kek_id)] = max(most, self.most_deks[kek_id])
        return fields


class Spread:
    """Adds up, into ``km:totals``, what is under each KEK."""

    def __init__(
        self, client: Client, names: Names, holder: str, monotonic: Callable[[], float]
    ) -> None:
        self._client = client
        self._names = names
        self._scripts = Scripts(client)
        self._pace = SlowCount(
            client, names.lease("spread"), holder, monotonic, self._count, EVERY_S
        )
        self.step_if_due = self._pace.step_if_due

    def _count(self, now: float) -> Iterator[None]:
        total, cursor, seen = _Total(), b"0", set[int]()
        kek_ids = yield from self._kek_ids()
        while True:
            scan = ("SSCAN", self._names.top("projects"), cursor, "COUNT", PROJECTS_AT_ONCE)
            (reply,) = yield from self._pace.asked([scan])
            if isinstance(reply, RedisError):
                raise reply
            cursor, page = reply
            # One that came twice would hide wraps of others.
            new = [name for name in dict.fromkeys(page) if hash(name) not in seen]
            seen.update(map(hash, new))
            projects = [name.decode(errors="replace") for name in new]
            yield from self._go_over(projects, kek_ids, total)
            if int(cursor) == 0:
                break
        # What was reserved up to now covers all that was counted.
        reserved = yield from self._reserved(kek_ids)
        known = yield from self._kek_ids()
        fields: dict[Any, Any] = {**total.fields(known, reserved), COUNTED_AT: now}
        self._client.hset(self._names.top("totals"), mapping=fields)
        self._pace.end()

    def _go_over(
        self, projects: Sequence[str], kek_ids: Sequence[str], total: _Total
    ) -> Generator[None, None, None]:
        left = {project: _OfProject() for project in projects}
        while left:
            limit = max(RECORDS_AT_ONCE // len(left), LEAST_RECORDS)
            calls = [
                ("spread", self._names.all_of(project, *KEYS), [*one.at, limit, *kek_ids])
                for project, one in left.items()
            ]
            answers = self._scripts.start(calls, [self._pace.keeping()])
            yield
            replies = answers.result().calls
            for (project, one), reply in zip(list(left.items()), replies, strict=True):
                if isinstance(reply, RedisError):
                    raise reply
                which, cursor, records, deks, wraps = reply
                one.at = (which, cursor)
                one.records += _numbers(records)
                one.deks += _numbers(deks)
                if which == DONE:
                    counted = (number_in(it) or 0 for it in wraps)
                    one.wraps = dict(zip(kek_ids, counted, strict=False))
                    total.add(left.pop(project))

    def _kek_ids(self) -> Generator[None, None, list[str]]:
        asking = ("HGET", self._names.top("keyring"), STATES)
        (states,) = yield from self._pace.asked([asking])
        return sorted(keks_named(states if isinstance(states, bytes) else None))

    def _reserved(self, kek_ids: Sequence[str]) -> Generator[None, None, dict[str, int]]:
        if not kek_ids:
            return {}
        asking = ("HMGET", self._names.top(WRAPS), *kek_ids)
        (found,) = yield from self._pace.asked([asking])
        numbers = found if isinstance(found, list) else [None] * len(kek_ids)
        return {it: number_in(text) or 0 for it, text in zip(kek_ids, numbers, strict=True)}


def _numbers(flat: Sequence[Any]) -> Counter[str]:
    """Read kek_id and number, one after the other."""
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return Counter({kek_id.decode(errors="replace"): number for kek_id, number in pairs})
