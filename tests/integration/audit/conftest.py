"""An auditor as its account runs it, and writers as theirs do, on a real broker."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from kmworker.audit.files import lines_of, segments_of
from kmworker.audit.lines import read_line
from kmworker.audit.records import data_of_record
from kmworker.audit.verification import verify
from kmworker.audit.verified import Verified
from kmworker.bus.audit_trail import RabbitAuditTrail
from kmworker.crypto.audit_key import AuditKey, signature_holds
from kmworker.domain.audit import Act, Actor, ActorKind, AuditRecord
from kmworker.settings import BrokerSettings
from tests.kit.outside.worker import Site, program, unmeasured
from tests.kit.polling import until
from tests.kit.servers import At, RabbitMQ

NewTrail = Callable[..., RabbitAuditTrail]
AT = "2026-11-30T16:00:00.000Z"


def record(number: int, **fields: Any) -> AuditRecord:
    who = Actor(ActorKind.CLIENT, "compute-17")
    return AuditRecord(Act.KEY_DELIVERED, who, AT, request=f"request-{number}", **fields)


class Auditor:
    """A process of `kmworker auditor` after the other, on one directory."""

    def __init__(self, site: Site) -> None:
        """Make its key."""
        self.site = site
        self.directory = site.folder / "audit"
        self.log = site.folder / "auditor.log"
        self.public = site.run("auditor", "--init").stdout.split()[-1]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and do not wait for it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*program(), "auditor"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=unmeasured(self.site.environment("auditor")),
                cwd=self.site.folder,
            )

    def said(self) -> str:
        """Return all that it has said."""
        return self.log.read_text() if self.log.exists() else ""

    def kill(self) -> None:
        """End it where it is."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def requests(self) -> list[str]:
        """Return the requests of all records, in the order of the trail."""
        found = []
        for path in segments_of(self.directory):
            for text in lines_of(path):
                line = read_line(text)
                if line.kind == "record":
                    found.append((data_of_record(line.body) or {})["request"])
        return found

    def has(self, number: int) -> None:
        """Wait until so many records are there, and see that each is there once."""
        wanted = {f"request-{it}" for it in range(number)}
        until(lambda: self._count() >= number, f"{number} records are in the trail")
        found = self.requests()
        assert len(found) == number, f"{len(found) - len(set(found))} are there twice"
        assert set(found) == wanted

    def _count(self) -> int:
        try:
            return len(self.requests())
        except ValueError:
            # It is in the midst of a line.
            return 0

    def verified(self) -> Verified:
        """Verify the trail as it is."""
        texts = [text for path in segments_of(self.directory) for text in lines_of(path)]
        return verify(texts, (), signature_holds, key=self.public, from_start=True)


@pytest.fixture
def auditor(rabbitmq: RabbitMQ, namespace: str, tmp_path: Path) -> Iterator[Auditor]:
    """An auditor that is not started yet."""
    made = auditor_on(rabbitmq, namespace, tmp_path)
    yield made
    made.close()


def auditor_on(broker: RabbitMQ, namespace: str, folder: Path, **settings: str) -> Auditor:
    """Return an auditor on a broker."""
    paths = {
        "KMWORKER_AUDIT__DIRECTORY": str(folder / "audit"),
        "KMWORKER_AUDIT__KEY": str(folder / "audit-key.json"),
        "KMWORKER_AUDIT__CHECKPOINT_LINES": "50",
        **settings,
    }
    return Auditor(
        Site(folder, broker, At("redis://none.invalid"), namespace, namespace, settings=paths)
    )


@pytest.fixture
def new_trail(rabbitmq: RabbitMQ, namespace: str) -> Iterator[NewTrail]:
    """Make a writer, as a worker's account has it."""
    with ExitStack() as stack:

        def make(role: str = "worker", **settings: Any) -> RabbitAuditTrail:
            url = rabbitmq.url_of("worker", namespace)
            given = {"url": url, "namespace": namespace, "confirm_timeout_s": 10, **settings}
            trail = RabbitAuditTrail(BrokerSettings(**given), role)
            stack.callback(trail.close)
            return trail

        yield make


__all__ = ["AuditKey", "Auditor", "NewTrail", "auditor_on", "record"]
