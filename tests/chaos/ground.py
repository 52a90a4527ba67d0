"""The servers, lines and workers that faults are inflicted on."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from secrets import token_hex
from typing import Final

from tests.chaos.amqp_end import AmqpEnd
from tests.chaos.disk import Disk, disk_at
from tests.chaos.end import End
from tests.chaos.streams_end import StreamsEnd
from tests.integration.outside.polling import until
from tests.integration.outside.reader import Reader
from tests.integration.outside.worker import Site, Worker
from tests.servers import Proxy, RabbitMQ, StoreServer, redis_store, valkey_store

WORKERS: Final = 3
# Nobody's source is late because of a fault.
DEADLINE_S: Final = 86_400
SETTINGS: Final = {
    # The least there is, so that its absence shows while a test can wait for it.
    "KMWORKER_BROKER__HEARTBEAT_S": "5",
    "KMWORKER_BROKER__CONFIRM_TIMEOUT_S": "10",
    "KMWORKER_STORE__TIMEOUT_S": "2",
    # Small batches are many: a fault then finds workers at every step.
    "KMWORKER_WORKER__BATCH_MAX": "32",
}


@dataclass(slots=True)
class Servers:
    """Servers that may be killed, each started when it is first asked for."""

    folder: Path
    _stack: ExitStack = field(default_factory=ExitStack)
    _broker: RabbitMQ | None = None
    _stores: dict[str, tuple[StoreServer, Disk]] = field(default_factory=dict)

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

    def redis(self) -> tuple[StoreServer, Disk]:
        return self._store("redis", redis_store)

    def valkey(self) -> tuple[StoreServer, Disk]:
        return self._store("valkey", valkey_store)

    def _store(self, name: str, prepare: Callable[[Path], StoreServer]) -> tuple[StoreServer, Disk]:
        if name not in self._stores:
            folder = self._new(name)
            disk = self._stack.enter_context(disk_at(folder))
            store = self._stack.enter_context(closing(prepare(folder)))
            store.start()
            self._stores[name] = store, disk
        return self._stores[name]

    def _new(self, name: str) -> Path:
        folder = self.folder / f"{name}-{token_hex(2)}"
        folder.mkdir()
        return folder


@dataclass(slots=True)
class Ground:
    """One installation: workers that reach broker and store through a line each."""

    site: Site
    end: End
    broker: RabbitMQ | None
    """None: the streams in the store's own server are the broker."""
    store: StoreServer
    disk: Disk
    broker_line: Proxy
    store_line: Proxy
    workers: list[Worker] = field(default_factory=list)
    paused: list[Worker] = field(default_factory=list)

    @property
    def reader(self) -> Reader:
        """Look into the store as dashboards do, past the line."""
        return Reader.of(self.store.url, self.site.prefix)

    def awake(self) -> list[Worker]:
        """Return the workers that are not stopped for the moment."""
        return [worker for worker in self.workers if worker not in self.paused]

    def add_worker(self) -> Worker:
        """Start a worker and do not wait for it."""
        worker = Worker(self.site)
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
def ground(servers: Servers, folder: Path, *, streams: bool, draw: Random) -> Iterator[Ground]:
    """Set up an installation with its workers; they are gone afterwards."""
    store, disk = servers.valkey() if streams else servers.redis()
    broker = None if streams else servers.broker()
    name = f"chaos{token_hex(4)}"
    with ExitStack() as stack:
        store_line = stack.enter_context(closing(Proxy(store.port, Random(draw.random()))))
        to_broker = store.port if broker is None else broker.port
        broker_line = stack.enter_context(closing(Proxy(to_broker, Random(draw.random()))))
        store_url = f"redis://127.0.0.1:{store_line.port}/0"
        broker_url = (
            f"redis://127.0.0.1:{broker_line.port}/0"
            if broker is None
            else f"amqp://guest:guest@127.0.0.1:{broker_line.port}/%2F"
        )
        site = Site(folder, broker_url, store_url, name, name, DEADLINE_S, SETTINGS)
        site.run("keyring", "init")
        end: End = StreamsEnd(store.url, name) if broker is None else AmqpEnd(broker.url, name)
        it = Ground(site, end, broker, store, disk, broker_line, store_line)
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
    it.end.remove()
    it.reader.forget()


def _kill_all(it: Ground) -> None:
    for worker in list(it.workers):
        it.kill_worker(worker)
