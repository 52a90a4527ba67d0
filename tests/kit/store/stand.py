"""A store to test, what is around it, and what an outsider finds in it."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any

from kmworker.bootstrap.assembly import assemble_store
from kmworker.crypto import KeyringCustody
from kmworker.domain.keks import KekStates, KekStep
from kmworker.domain.keys import Operator
from kmworker.domain.model import Held, Item, Place, State
from kmworker.domain.plan import AssignWrite, Committed, Write
from kmworker.domain.waiting import Taken
from kmworker.settings import (
    AuditSettings,
    BrokerSettings,
    Settings,
    StoreSettings,
    WaitingSettings,
)
from kmworker.store.client import Client, Gate
from kmworker.store.inspection import Views
from kmworker.store.kek_register import KekRegister
from kmworker.store.names import Names
from kmworker.store.redis_store import RedisStore
from kmworker.store.reports import RedisReports
from tests.kit.simulator.clock import SettableClock
from tests.kit.store.backends import ADMIN, WORKER, Backend, ServerBackend, closing_pool
from tests.kit.store.builders import (
    BOTH_KEYRINGS,
    INSTALLATION,
    draft,
    opened_anew,
    snapshot,
    volume,
)
from tests.kit.store.wiretap import Wiretap

DEADLINE_S = 3600.0
WAITING = WaitingSettings(max=1000, deadline_s=DEADLINE_S)
S1 = snapshot("s1")

Contents = dict[str, Any]
"""Every key with its value, whatever its type."""


StandOn = Callable[..., "Stand"]
"""Builds a stand on a server; takes how long its clients wait for an answer, too."""


class Stand:
    """One test's keys in one store.

    Attributes:
        prefix: what the names of these keys begin with.
        clock: the stores' time.
        custody: whose seals the records bear.
        raw: the administrator's client, for looking and for mischief.
    """

    def __init__(
        self, backend: Backend, prefix: str, custody: KeyringCustody, stack: ExitStack
    ) -> None:
        self.prefix = prefix
        self.clock = SettableClock()
        self.custody = custody
        self._backend = backend
        self._stack = stack
        self.raw: Any = self.client(ADMIN)

    def client(self, role: str = WORKER) -> Client:
        """Return one more client of a worker, or of another role."""
        return self._stack.enter_context(closing_pool(self._backend.client(role, self.prefix)))

    def client_as(self, user: str, password: str) -> Client:
        """Return a client of another user; on a server only."""
        assert isinstance(self._backend, ServerBackend)
        return self._stack.enter_context(closing_pool(self._backend.client_as(user, password)))

    def client_behind(self, gate: Gate) -> Client:
        """Return a client that connects through a gate alone; on a server only."""
        assert isinstance(self._backend, ServerBackend)
        return self._stack.enter_context(
            closing_pool(self._backend.client_behind(gate, self.prefix))
        )

    def client_with(self, rights: str) -> Client:
        """Return a client of a user with these rights (rules of `ACL SETUSER`)."""
        user, password = f"{self.prefix}-user", "word"
        words = rights.format(self.prefix).split()
        self.raw.execute_command("ACL", "SETUSER", user, "on", f">{password}", *words)
        return self.client_as(user, password)

    def tap(self, role: str = WORKER) -> Wiretap:
        """Return one more client that notes what it sends."""
        return Wiretap(self.client(role))

    def store(
        self,
        client: Client | None = None,
        *,
        custody: KeyringCustody | None = None,
        waiting: WaitingSettings = WAITING,
        allow_volatile: bool = True,
        is_vouched: bool = False,
        source: str = "/kmworker",
        worker_id: str = "committer",
        gate: Gate | None = None,
        records: bool = False,
    ) -> RedisStore:
        """Return one more worker's store."""
        settings = Settings(
            audit=AuditSettings(records=records),
            broker=BrokerSettings(source=source),
            store=StoreSettings(
                prefix=self.prefix,
                allow_volatile=allow_volatile,
                durability="vouched" if is_vouched else "checked",
            ),
            waiting=waiting,
        )
        return assemble_store(
            settings,
            client or self.client(),
            opened_anew(custody or self.custody),
            self.clock,
            worker_id=worker_id,
            gate=gate,
            new_id=lambda: INSTALLATION,
        )

    def views(self, role: str = WORKER) -> Views:
        """Return the store as a command sees it that has this role."""
        return Views(self.client(role), Names(self.prefix))

    def reports(self, client: Client | None = None) -> RedisReports:
        """Return one more worker's reports."""
        return RedisReports(client or self.client(), Names(self.prefix), "w1", self.clock.monotonic)

    # --- what the first worker does -----------------------------------------------------

    @cached_property
    def first(self) -> RedisStore:
        """The first worker's store; `store` gives those of others."""
        return self.store()

    def commit(self, *writes: Write) -> list[Committed]:
        """Commit these in one batch."""
        return self.first.commit(writes).result()

    def look_up(self, *items: Item) -> dict[Item, State]:
        """Return what the store knows of items."""
        return self.first.look_up(items).result()

    def known(self, item: Item) -> Held:
        """Return what the store knows of an item that it must hold."""
        state = self.look_up(item)[item]
        assert isinstance(state, Held)
        return state

    def put(self, write: AssignWrite) -> Held:
        """Commit one write and return what the store then knows of its item."""
        self.commit(write)
        return self.known(write.assignment.item)

    def park(self, *names: str, source: Item = S1) -> None:
        """Park events of these names, in this order."""
        self.commit(*(draft.park(volume("v1"), source, name) for name in names))

    def take(self, source: Item = S1, limit: int = 9) -> list[Taken]:
        """Take from one source; raises what is wrong with its keys."""
        return take(self.first, source, limit)

    # --- what an outsider sees, by the names of the contract --------------------------

    def key(self, project: str, name: str) -> str:
        """Return a key of a project that is open to dashboards."""
        return f"{self.prefix}:{{{project}}}:{name}"

    def secret(self, project: str, name: str) -> str:
        """Return a key of a project that is closed to them."""
        return f"{self.prefix}secret:{{{project}}}:{name}"

    def top(self, name: str) -> str:
        """Return a key that belongs to no project."""
        return f"{self.prefix}:{name}"

    def contents(self) -> Contents:
        """Return every key of this test with its value, but for those that any try may change.

        The counts of commits and of wraps grow, and the index of due projects is written, also by
        one that writes nothing else.
        """
        names = {name.decode() for name in self.raw.scan_iter(match=f"{self.prefix}*", count=1000)}
        names -= {self.top(it) for it in ("worker:committer", "due", "crowded", "wraps")}
        return {name: self.value(name) for name in names if not name.endswith(":commits")}

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """See that what is done meanwhile changes no `contents`."""
        before = self.contents()
        yield
        assert self.contents() == before

    def value(self, name: str | bytes) -> Any:
        """Return a key's value, whatever its type; None if there is none."""
        raw = self.raw
        read: dict[bytes, Callable[[], Any]] = {
            b"none": lambda: None,
            b"string": lambda: raw.get(name),
            b"hash": lambda: raw.hgetall(name),
            b"set": lambda: raw.smembers(name),
            b"zset": lambda: dict(raw.zrange(name, 0, -1, withscores=True)),
            b"list": lambda: raw.lrange(name, 0, -1),
            b"stream": lambda: raw.xrange(name),
        }
        return read[raw.type(name)]()

    def stats(self, project: str) -> dict[bytes, bytes]:
        """Return a project's running totals, but for those of wraps."""
        found: dict[bytes, bytes] = self.value(self.key(project, "stats")) or {}
        return {name: it for name, it in found.items() if not name.startswith(b"wraps:")}

    def wraps(self, project: str, kek_id: str = "") -> int:
        """Return how many DEKs are counted to be wrapped in a project under a KEK."""
        field = f"wraps:{kek_id or self.custody.kek_id}"
        return int(self.raw.hget(self.key(project, "stats"), field) or 0)

    def reserved(self, kek_id: str = "") -> int:
        """Return how many wraps are reserved under a KEK."""
        return int(self.raw.hget(self.top("wraps"), kek_id or self.custody.kek_id) or 0)

    def clear(self) -> None:
        """Delete every key of this test, as on another server."""
        names = list(self.raw.scan_iter(match=f"{self.prefix}*", count=1000))
        if names:
            self.raw.delete(*names)

    def spoil(self, name: str) -> None:
        """Put text in a key's place."""
        self.raw.delete(name)
        self.raw.set(name, "text")

    def register(self, custody: KeyringCustody) -> None:
        """Have the store know a KEK, as `kmworker keyring add` does."""
        self.step_kek(custody.kek_id, KekStep.ADD)

    def step_kek(self, kek_id: str, what: KekStep) -> None:
        """Let something become of a KEK of ours, at a key operator's word."""
        views = Views(self.client(ADMIN), Names(self.prefix))
        both = KeyringCustody(BOTH_KEYRINGS, INSTALLATION)
        after = KekRegister(views, both).step(kek_id, what, Operator("test", "a test"))
        assert isinstance(after, KekStates), after

    # --- records as whoever holds the keyring can write them ---------------------------

    def record(self, project: str, key: str, field: str) -> dict[str, Any]:
        """Return a sealed record's fields, without its seal."""
        body: dict[str, Any] = json.loads(self.raw.hget(self.key(project, key), field))
        del body["seal"]
        return body

    def rewrite(
        self,
        project: str,
        key: str,
        field: str,
        *,
        custody: KeyringCustody | None = None,
        **changes: Any,
    ) -> None:
        """Change a record's fields and seal it again, as another release might."""
        body = {**self.record(project, key, field), **changes}
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        sealed = (custody or self.custody).seal(Place(project, key, field), text.encode()[:-1])
        self.raw.hset(self.key(project, key), field, sealed)


def take(store: RedisStore, source: Item = S1, limit: int = 9) -> list[Taken]:
    """Take from one source; raises what is wrong with its keys."""
    (found,) = store.take([source], limit)
    if isinstance(found, Exception):
        raise found
    return found


def only(results: list[Committed]) -> Committed:
    """Return the one result of a commit of one write."""
    (result,) = results
    return result


def attempts_on_disk(stand: Stand) -> dict[str, int]:
    """Return how often each waiting event of p1 has been tried, as dashboards see it."""
    waiting = stand.value(stand.key("p1", "waiting")) or {}
    return {name.decode(): json.loads(text)["attempts"] for name, text in waiting.items()}
