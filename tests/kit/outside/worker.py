"""The product as an operator runs it: a program, its environment, its exit codes.

Each command has the accounts of whoever would run it.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from uuid import uuid4

from tests.kit.outside.client import Client, connected, subscribed
from tests.kit.outside.reader import Reader
from tests.kit.outside.roles import roles_for
from tests.kit.polling import until
from tests.kit.servers.accounts import ADMIN, ADMIN_USER, Door, Through

PROJECT_ROOT: Final = Path(__file__).resolve().parents[3]
COMMAND_S: Final = 120
STOP_S: Final = 60
LOG_TAIL_BYTES: Final = 2_000


def program() -> list[str]:
    """How the program is started: from this checkout, or as a variable says."""
    command = os.environ.get("KMWORKER_TEST_COMMAND")
    return shlex.split(command) if command else [sys.executable, "-m", "kmworker"]


@dataclass(frozen=True, slots=True)
class Site:
    """One installation: names of its own, a keyring, a folder for what it writes."""

    folder: Path
    broker: Door
    store: Door
    namespace: str
    prefix: str
    deadline_s: int = 600
    settings: dict[str, str] = field(default_factory=dict)
    ways: tuple[int, ...] = ()
    """Ports of lines to the broker, as if each were one of several brokers."""

    @property
    def keyring(self) -> Path:
        return self.folder / "keyring"

    @property
    def reader(self) -> Reader:
        return Reader.of(self.store_url("dashboard"), self.store_url(ADMIN), self.prefix)

    def client(self) -> AbstractContextManager[Client]:
        """Enter whoever talks to the broker from outside, listening."""
        return subscribed(self.broker_url, self.namespace)

    def connected(self) -> AbstractContextManager[Client]:
        """Enter the same before it listens."""
        return connected(self.broker_url, self.namespace)

    def broker_url(self, role: str) -> str:
        return self.broker.url_of(role, self.namespace)

    def store_url(self, role: str) -> str:
        return self.store.url_of(role, self.prefix)

    def _brokers(self, role: str) -> dict[str, str]:
        if not self.ways:
            return {"KMWORKER_BROKER__URL": self.broker_url(role)}
        urls = [self.broker.url_of(role, self.namespace, port=port) for port in self.ways]
        return {"KMWORKER_BROKER__URLS": json.dumps(urls)}

    def with_accounts(self, *, store: str | None = None, broker: str | None = None) -> "Site":
        """Return the same, run by someone who has these accounts whatever the command."""
        chosen = self
        if store is not None:
            chosen = replace(chosen, store=Through(self.store, role=store))
        if broker is not None:
            chosen = replace(chosen, broker=Through(self.broker, role=broker))
        return chosen

    def environment(self, *arguments: str) -> dict[str, str]:
        """Return the variables for a command line; for none, those of a worker."""
        roles = roles_for(arguments)
        broker = {} if roles.broker is None else self._brokers(roles.broker)
        store = {}
        if roles.store is not None:
            store["KMWORKER_STORE__URL"] = self.store_url(roles.store)
        named = f"{broker} {store}"
        assert ADMIN_USER not in named, "the product is not run by the tests' administrator"
        kept = {k: v for k, v in os.environ.items() if not k.startswith("KMWORKER_")}
        paths = [str(PROJECT_ROOT), kept.get("PYTHONPATH", "")]
        return {
            **kept,
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            **broker,
            "KMWORKER_BROKER__NAMESPACE": self.namespace,
            **store,
            "KMWORKER_STORE__PREFIX": self.prefix,
            "KMWORKER_KEYRING__PATH": str(self.keyring),
            "KMWORKER_WAITING__DEADLINE_S": str(self.deadline_s),
            "KMWORKER_WAITING__SWEEP_S": "1",
            **self.settings,
        }

    def run(
        self, *arguments: str, stdin: str = "", exit_code: int | None = 0
    ) -> "subprocess.CompletedProcess[str]":
        """Run one command to its end."""
        done = subprocess.run(
            [*program(), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            env=unmeasured(self.environment(*arguments)),
            cwd=self.folder,
            check=False,
        )
        told = f"{arguments} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        assert exit_code is None or done.returncode == exit_code, told
        return done

    def lay_keyring(self) -> None:
        """Lay down a keyring that other sites have, too: to make one takes a process.

        Only for sites with a namespace of their own: see `Installation.make_keyring`.
        """
        self.keyring.touch(0o600)
        self.keyring.write_bytes(_keyring())

    def logs(self) -> Iterator[tuple[str, bytes]]:
        for path in sorted(self.folder.glob("*.log")):
            yield path.name, path.read_bytes()


@cache
def _keyring() -> bytes:
    """Have the program make one, once."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "keyring"
        paths = {"PYTHONPATH": str(PROJECT_ROOT), "KMWORKER_KEYRING__PATH": str(path)}
        command = [*program(), "keyring", "init"]
        subprocess.run(command, env={**os.environ, **paths}, capture_output=True, check=True)
        return path.read_bytes()


def unmeasured(environ: dict[str, str]) -> dict[str, str]:
    """Leave out what lets a child measure its coverage.

    Commands are measured where they are tested one by one; here hundreds are run, and it
    would only cost time.
    """
    return {name: value for name, value in environ.items() if name != "COVERAGE_PROCESS_CONFIG"}


class Worker:
    """One worker process and its log."""

    def __init__(self, site: Site, command: Sequence[str] = ()) -> None:
        """Start it; with a command, another program in its place."""
        self.log = site.folder / f"worker-{uuid4().hex[:6]}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command or [*program(), "worker"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=site.environment(),
                cwd=site.folder,
            )

    def is_seen_by(self, reader: Reader) -> bool:
        """Whether the dashboards know this process."""
        code = self.process.poll()
        assert code is None, f"the worker ended with {code}:\n{self.tail()}"
        pids = {fields.get("pid") for fields in reader.workers().values()}
        return str(self.process.pid) in pids

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def ended(self) -> int:
        return self.process.wait(timeout=STOP_S)

    def stop(self) -> None:
        """Ask the worker to stop, which it has to do with exit code 0."""
        self.terminate()
        self.end_cleanly()

    def end_cleanly(self) -> None:
        """Wait for the end of a worker that has been asked to stop."""
        code = self.ended()
        assert code == 0, f"SIGTERM ended the worker with {code}:\n{self.tail()}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=STOP_S)

    def tail(self) -> str:
        return self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")


def started(site: Site) -> Worker:
    """Start a worker, and wait until it is seen: from then on it answers to signals."""
    worker = Worker(site)
    reader = site.reader
    try:
        until(lambda: worker.is_seen_by(reader), f"worker {worker.process.pid} is seen")
    except BaseException as error:
        error.add_note(worker.tail())
        worker.kill()
        raise
    return worker


def stop_all(workers: list[Worker]) -> None:
    """Stop those that still run; each has to end cleanly."""
    for worker in workers:
        if worker.process.poll() is None:
            worker.stop()


def stop_together(workers: list[Worker]) -> None:
    """Stop all at the same time; each has to end cleanly."""
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.end_cleanly()


@contextmanager
def working(site: Site, count: int = 1) -> Iterator[list[Worker]]:
    """Run workers; they must stop cleanly unless something else has failed before."""
    workers: list[Worker] = []
    try:
        workers += [started(site) for _ in range(count)]
        yield workers
        stop_all(workers)
    except BaseException as error:
        for worker in workers:
            error.add_note(f"{worker.log.name}:\n{worker.tail()}")
        raise
    finally:
        for worker in workers:
            worker.kill()
