"""The servers, lines and workers that faults are inflicted on."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from secrets import token_hex
from typing import Final

from tests.chaos.key_ends import KeyAmqpEnd, KeyStreamsEnd
from tests.chaos.streams_end import StreamsEnd
from tests.kit.outside.reader import Reader
from tests.kit.outside.worker import Site, Worker
from tests.kit.parties.amqp_end import AmqpEnd
from tests.kit.parties.end import End
from tests.kit.parties.party import Party
from tests.kit.polling import until
from tests.kit.servers import (
    ADMIN,
    Proxy,
    RabbitMQ,
    StoreServer,
    Through,
    embedded_store,
    redis_store,
    valkey_store,
)

WORKERS: Final = 3
# Nobody's source is late because of a fault. It is the shipped one, and less than a clock may err.
DEADLINE_S: Final = 3_600
SETTINGS: Final = {
    # The least there is, so that its absence shows while a test can wait for it.
    "KMWORKER_BROKER__HEARTBEAT_S": "5",
    "KMWORKER_BROKER__CONFIRM_TIMEOUT_S": "10",
    "KMWORKER_STORE__TIMEOUT_S": "2",
    # Small batches are many: a fault then finds workers at every step.
    "KMWORKER_WORKER__BATCH_MAX": "32",
}

STORES: Final = {"rabbitmq": redis_store, "valkey": valkey_store, "streams": embedded_store}


# Of waiting events; parties are as large as this makes them.
ROOM: Final = 6_000
HASTY_ROOM: Final = 600
FOREIGN_SHARE: Final = 4


@dataclass(slots=True)
class Servers:
    """Servers that may be killed, each started when it is first asked for."""

    folder: Path
    _stack: ExitStack = field(default_factory=ExitStack)
    _broker: RabbitMQ | None = None
    _stores: dict[str, StoreServer] = field(default_factory=dict)

    def close(self) -> None:
        self._stack.close()

    def give_up(self) -> None:
        """Leave those that run as they are; whoever asks next gets new ones."""
        self._broker = None
        self._stores.clear()

    def broker(self) -> RabbitMQ:
        if self._broker is None:
            self._broker = self._stack.enter_context(closing(RabbitMQ(self._new("rabbitmq"))))
            self._broker.start()
        return self._broker

    def store_for(self, kind: str) -> StoreServer:
        """Return the store of this kind of installation."""
        return self._stores.get(kind) or self.replace_store(kind)

    def replace_store(self, kind: str) -> StoreServer:
        """Return a new one, which is that of this kind from now on."""
        store = self._stack.enter_context(closing(STORES[kind](self._new(kind))))
        store.start()
        self._stores[kind] = store
        return store

    def _new(self, name: str) -> Path:
        folder = self.folder / f"{name}-{token_hex(2)}"
        folder.mkdir()
        return folder


@dataclass(slots=True)
class Ground:
    """One installation: workers that reach broker and store through a line each."""

    servers: Servers
    kind: str
    site: Site
    end: End
    broker: RabbitMQ | None
    """None: the streams in the store's own server are the broker."""
    store: StoreServer
    broker_line: Proxy
    store_line: Proxy
    room: int
    """How many events of a project may wait."""
    workers: list[Worker] = field(default_factory=list)
    paused: list[Worker] = field(default_factory=list)
    parties: list[Party] = field(default_factory=list)
    """Those who have said something."""

    @property
    def namespace(self) -> str:
        return self.site.namespace

    @property
    def prefix(self) -> str:
        return self.site.prefix

    @property
    def victim(self) -> str:
        """The project of somebody honest who goes on all the while."""
        return f"steady-{self.site.namespace}"

    @property
    def foreign_room(self) -> int:
        return self.room // FOREIGN_SHARE

    @property
    def reader(self) -> Reader:
        """Look into the store as dashboards do, past the line."""
        prefix = self.site.prefix
        return Reader.of(
            self.store.url_of("dashboard", prefix), self.store.url_of(ADMIN, prefix), prefix
        )

    def take_over(self, store: StoreServer, *, keeping: bool = False) -> None:
        """Put another store in the place of this one; open connections are kept if told so."""
        # Accounts are not replicated: whoever runs a replica gives it the same file.
        store.url_of("worker", self.site.prefix)
        self.store = store
        self.store_line.redirect(store.port, keeping=keeping)

    def contents(self) -> dict[str, list[bytes]]:
        """Return all that is in the store and meant to stay, whatever order it is kept in."""
        return {
            key: sorted(content.split(b"\n"))
            for key, content in self.reader.everything("*")
            if ":lease:" not in key
        }

    def awake(self) -> list[Worker]:
        """Return the workers that are not stopped for the moment."""
        return [worker for worker in self.workers if worker not in self.paused]

    def add_worker(self, command: Sequence[str] = ()) -> Worker:
        """Start a worker, or another program as one, and do not wait for it."""
        worker = Worker(self.site, command)
        self.workers.append(worker)
        return worker

    def kill_worker(self, worker: Worker) -> None:
        worker.kill()
        self.workers.remove(worker)

    def ended(self) -> Iterator[str]:
        """Name the workers that have ended by themselves."""
        for worker in self.workers:
            if (code := worker.process.poll()) is not None:
                yield f"{worker.log.name} ended with {code}:\n{worker.tail()}"

    def last_batch_at(self, pid: int) -> float:
        """Say when the worker finished its last batch, in Unix seconds; 0: never."""
        found = [it for it in self.reader.workers().values() if it.get("pid") == str(pid)]
        return max((float(fields["last_batch"]) for fields in found), default=0.0)

    def cpu_s(self) -> dict[int, float]:
        """Return the processor time that each worker has used, by process."""
        return {worker.process.pid: _cpu_s(worker.process.pid) for worker in self.awake()}


def _cpu_s(pid: int) -> float:
    """Read user and system time; see proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def ground(
    servers: Servers,
    folder: Path,
    *,
    kind: str,
    draw: Random,
    room: int = HASTY_ROOM,
    keeping: Mapping[str, str] | None = None,
) -> Iterator[Ground]:
    """Set up an installation with its workers; they are gone afterwards.

    Its kind is `rabbitmq` (with Redis), `valkey` (RabbitMQ with Valkey), or `streams` (in the
    Valkey of the embedded mode, which has no accounts). With settings for what becomes of keys
    (`keeping`), its end hears that, too.
    """
    store = servers.store_for(kind)
    broker = None if kind == "streams" else servers.broker()
    name = f"chaos{token_hex(4)}"
    with ExitStack() as stack:
        store_line = stack.enter_context(closing(Proxy(store.port, Random(draw.random()))))
        to_broker = store.port if broker is None else broker.port
        broker_line = stack.enter_context(closing(Proxy(to_broker, Random(draw.random()))))
        site = Site(
            folder,
            Through(broker or store, broker_line.port),
            Through(store, store_line.port),
            name,
            name,
            DEADLINE_S,
            SETTINGS | _room_settings(room) | dict(keeping or {}),
        )
        site.run("keyring", "init")
        end: End
        if broker is None:
            its_end = StreamsEnd if keeping is None else KeyStreamsEnd
            end = its_end(partial(store.url_of, names=name), name)
        else:
            an_end = AmqpEnd if keeping is None else KeyAmqpEnd
            end = an_end(partial(broker.url_of, names=name), name)
        it = Ground(servers, kind, site, end, broker, store, broker_line, store_line, room)
        stack.callback(_kill_all, it)
        try:
            yield _opened(it, stack)
            _clear(it)
        except BaseException as error:
            # Some fault may still be in force.
            servers.give_up()
            for worker in it.workers:
                error.add_note(f"{worker.log.name}:\n{worker.tail()}")
            raise


def _room_settings(room: int) -> dict[str, str]:
    return {
        "KMWORKER_WAITING__MAX": str(room),
        "KMWORKER_WAITING__FOREIGN_MAX": str(room // FOREIGN_SHARE),
    }


def _opened(it: Ground, stack: ExitStack) -> Ground:
    for _ in range(WORKERS):
        it.add_worker()
    for worker in it.workers:
        until(partial(worker.is_seen_by, it.reader), f"{worker.log.name} is seen")
    it.end.open()
    if it.broker is not None:
        broker, queues = it.broker, it.end.queues()
        until(lambda: broker.has_registered(*queues), "the broker has the queues on disk")
    stack.callback(it.end.close)
    stack.callback(partial(_kill_all, it))
    return it


def _clear(it: Ground) -> None:
    """Leave nothing behind for the next installation to carry along."""
    _kill_all(it)
    it.end.close()
    for server in (it.broker, it.store):
        if server is not None:
            server.forget(it.site.prefix)


def _kill_all(it: Ground) -> None:
    for worker in list(it.workers):
        it.kill_worker(worker)
