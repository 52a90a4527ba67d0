"""The program as an operator meets it, with stand-ins for the servers."""

import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from kmworker.bootstrap.assembly import assemble_store
from kmworker.cli.app import app
from kmworker.clock import SystemClock, rfc3339
from kmworker.crypto import Keyring, KeyringCustody
from kmworker.domain.audit import AuditRecord
from kmworker.domain.event import Event
from kmworker.domain.look_up import items_to_look_up
from kmworker.domain.message import Original, Outgoing
from kmworker.domain.model import Disposition, Held, Item
from kmworker.domain.plan import Arrival, Fresh
from kmworker.domain.planner import plan_batch
from kmworker.ports import Answered
from kmworker.settings import BrokerSettings, Settings, StoreSettings, WaitingSettings
from kmworker.store.inspection import Views
from kmworker.store.names import Names
from tests.kit.builders import SHIPPED, event_of, snapshot, volume
from tests.kit.simulator.lua import simulated_server
from tests.kit.store.fake_client import FakeClient

NOW_S = 1_795_449_600.0
SOURCE = "/first-setting"
GOOD: dict[str, Any] = {
    "specversion": "1.0",
    "id": "e1",
    "source": "/test",
    "type": "volume-created",
    "data": {"project_id": "p1", "volume_id": "v1"},
}
"""An event that a worker takes."""


def run(*arguments: str, stdin: str | bytes = "", **settings: str) -> Result:
    """Run one command to its end; with settings of its own, as in ``keyring__path="mine"``."""
    environ = {f"KMWORKER_{name.upper()}": value for name, value in settings.items()}
    return CliRunner(env=environ).invoke(app, list(arguments), input=stdin, prog_name="kmworker")


def said(result: Result) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    return result.exit_code, result.stdout, result.stderr


def failed(code: int, *arguments: str, stdin: str | bytes = "", **settings: str) -> str:
    """Run a command that ends with this code and has no result; return what it says instead."""
    result = run(*arguments, stdin=stdin, **settings)
    assert (result.exit_code, result.stdout) == (code, ""), result.stderr
    return result.stderr


def document(*arguments: str, code: int = 0, stdin: str | bytes = "", **settings: str) -> Any:
    """What a command prints for a program, which ends with this code."""
    result = run(*arguments, "--json", stdin=stdin, **settings)
    assert result.exit_code == code, result.stderr
    return json.loads(result.stdout)


def documents(*arguments: str, code: int = 0) -> list[dict[str, Any]]:
    """The same, of a command that prints one a line."""
    result = run(*arguments, "--json")
    assert result.exit_code == code, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def lines(*events: object) -> bytes:
    """A file with one event a line."""
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


class FilledStore:
    """A store in memory, filled by the worker's own plan and scripts."""

    def __init__(self, keyring: Path, template: "FilledStore | None" = None) -> None:
        """Begin as a copy of a template and its keyring, or with a new keyring and nothing."""
        self.names = Names("km")
        self.server = simulated_server()
        self.client: Any = FakeClient(server=self.server, protocol=2)
        self.keyring = keyring
        self._numbers: Iterator[int] = template._numbers if template else itertools.count(1)
        if template is None:
            Keyring.generate(keyring)
            self.custody = KeyringCustody(Keyring.load(keyring))
        else:
            shutil.copy(template.keyring, keyring)
            for key, dumped in template.dumped.items():
                self.client.restore(key, 0, dumped)
            # It has entered the installation that the copy is of.
            self.custody = template.custody
        settings = Settings(
            broker=BrokerSettings(source=SOURCE),
            store=StoreSettings(allow_volatile=True),
            waiting=WaitingSettings(max=10),
        )
        self._store = assemble_store(
            settings, self.client, self.custody, SystemClock(), worker_id="w1"
        )

    @property
    def views(self) -> Views:
        return Views(self.client, self.names)

    def admit(self) -> None:
        """Enter the keyring, as the first worker does."""
        self._store.admit()

    def assign(self, *events: Event) -> None:
        """Handle events one after the other, as a worker does."""
        self.admit()
        for event in events:
            known = self._store.look_up(items_to_look_up([event])).result()
            arrivals = [Arrival(event, Original(b"{}", event.cause.type, {}))]
            fresh = Fresh(rfc3339(NOW_S), self._new_id, self.custody.kek_id)
            self._store.commit(plan_batch(arrivals, known, SHIPPED, fresh).writes).result()

    def held(self, item: Item) -> Held:
        """What the store knows of an item."""
        found = self._store.look_up([item]).result()[item]
        assert isinstance(found, Held)
        return found

    def key_id(self, item: Item) -> str:
        return str(self.held(item).assignment.key_id)

    def scope_id(self, item: Item) -> str:
        return str(self.held(item).assignment.scope_id)

    def change(self, project: str, key: str, field_: str, old: bytes, new: bytes) -> None:
        """Write to a record past its seal."""
        name = self.names.of(project, key)
        record = self.client.hget(name, field_)
        assert old in record
        self.client.hset(name, field_, record.replace(old, new))

    def dump(self) -> dict[bytes, bytes]:
        """All that is in it."""
        return {key: self.client.dump(key) for key in self.client.scan_iter()}

    @cached_property
    def dumped(self) -> dict[bytes, bytes]:
        """All that is in it by now, for any number of copies."""
        return self.dump()

    def _new_id(self) -> str:
        return f"00000000-0000-4000-8000-{next(self._numbers):012}"


def family(project: str = "p1") -> list[Event]:
    """A volume, its snapshot, a clone of that, and a volume that was re-encrypted from it."""
    root, taken = volume("v1", project), snapshot("s1", project)
    return [
        event_of(root),
        event_of(taken, root),
        event_of(volume("v2", project), taken),
        event_of(volume("v3", project), taken, requested=Disposition.CREATE),
    ]


@dataclass
class Broker:
    """A broker that takes everything and remembers it."""

    published: list[Outgoing] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    is_routed: Callable[[Outgoing], bool] = lambda _message: True
    before_batch: Callable[[int], None] = lambda _number: None
    """Called with the number of batches so far; may raise."""
    is_closed: bool = False

    def open(self) -> None:
        """Be there."""

    def publish(self, messages: Sequence[Outgoing]) -> list[bool]:
        self.before_batch(len(self.batches))
        self.published += messages
        self.batches.append(len(messages))
        return [self.is_routed(message) for message in messages]

    def close(self) -> None:
        self.is_closed = True


@dataclass
class Trail:
    """An audit trail that takes everything and remembers it."""

    records: list[AuditRecord] = field(default_factory=list)
    before: Callable[[AuditRecord], None] = lambda _record: None
    """Called with each record before it is taken; may raise `NotRecorded`."""
    closed: int = 0
    writer: str = "operator@h/1"

    def record(self, records: Sequence[AuditRecord]) -> Answered[None]:
        for it in records:
            self.before(it)
        self.records += records
        return Answered(None)

    def tick(self) -> None:
        """Nothing is open."""

    def close(self) -> None:
        self.closed += 1

    @property
    def told(self) -> list[tuple[str, str, int | None]]:
        """What was recorded: what, what came of it, and of how many."""
        return [(it.what.value, it.outcome.value, it.count) for it in self.records]


@dataclass
class Subscription:
    """A subscriber that hears what it is given, and then what its script says."""

    heard: list[bytes]
    then: Callable[[], None]
    bindings: Mapping[str, Sequence[str]] = field(default_factory=dict)
    is_closed: bool = False

    def open(self) -> None:
        """Listen."""

    def receive(self, timeout_s: float) -> list[Original]:
        assert timeout_s > 0
        if not self.heard:
            self.then()
        heard, self.heard = self.heard, []
        return [Original(body, "", {}) for body in heard]

    def close(self) -> None:
        self.is_closed = True


def interrupt() -> None:
    raise KeyboardInterrupt
