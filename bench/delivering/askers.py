"""Clients as nodes are: each process connects for itself, and opens what it gets.

Two ways to ask. With many requests on their way at once, by the library's own connection, which is
how a host asks that has all of its volumes to open. And with one for each thread, by `Keys`.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from itertools import cycle
from pathlib import Path
from typing import Final

from bench.delivering.waits import Begin, Share, begun
from kmworker.bus.amqp.transport import wait_for_any
from kmworker.bus.asker import Asker
from kmworker.client.connecting import broker_settings
from kmworker.client.keys import Keys
from kmworker.clock import rfc3339
from kmworker.delegation.checking import DeliveredKey, check_answer
from kmworker.delegation.enrolment import Enrolment
from kmworker.delegation.identity import Identity
from kmworker.delegation.requests import SignedRequest, sign_request
from kmworker.delegation.signing import SIGNATURE_HEADER
from kmworker.delegation.trust_list import TrustList
from kmworker.domain.message import Original, Outgoing
from kmworker.domain.model import Item, Kind
from kmworker.wire.requests.key_requested import KeyRequested
from kmworker.wire.requests.request import DIRECT_REPLY
from kmworker.wire.topology import Topology

__all__ = ["Line", "Node", "boot", "in_flight", "lines_of"]

WAIT_S: Final = 0.5
ASK_AGAIN_S: Final = 10.0
PATIENCE_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Node:
    """A host that was enrolled, and the volumes that are attached to it."""

    folder: Path
    """With its identity and what it pins."""
    url: str
    namespace: str
    project: str
    volumes: range

    @property
    def identity(self) -> Path:
        """Return where its identity is."""
        return self.folder / "identity.json"

    @property
    def enrolment(self) -> Path:
        """Return where what it pins is."""
        return self.folder / "enrolment.json"

    def item(self, number: int) -> Item:
        """Return one of its volumes."""
        return Item(self.project, Kind.VOLUME, f"v{self.volumes[number % len(self.volumes)]}")

    def connect(self) -> Callable[[int], None]:
        """Return what gets a key, by the library; threads of a process share a connection."""
        keys = _keys(self)

        def get(number: int) -> None:
            with keys.get(self.item(number)) as delivered:
                assert len(delivered.key.view) == delivered.encryption.key_bits // 8

        return get


@cache
def _keys(node: Node) -> Keys:
    return Keys(
        node.url, identity=node.identity, enrolment=node.enrolment, namespace=node.namespace
    )


class Line:
    """A node's connection, and what was asked on it."""

    def __init__(self, node: Node) -> None:
        """Connect."""
        self.node = node
        self.sent: dict[str, tuple[float, SignedRequest]] = {}
        """What is not answered yet: since when, by the request's id."""
        self._identity = Identity.load(node.identity)
        self._enrolment = Enrolment.load(node.enrolment, self._identity.public)
        self._seen: TrustList | None = None
        self._requests = Topology(node.namespace).requests
        self.asker = Asker(broker_settings(node.url, node.namespace), "bench node")
        self.asker.open()

    def request(self, number: int) -> SignedRequest:
        """Sign a request for one of the volumes."""
        request = KeyRequested(
            project_id=self.node.project,
            reply_to=DIRECT_REPLY,
            item=self.node.item(number),
            time=rfc3339(time.time()),
        )
        enrolment = self._enrolment
        return sign_request(request, self._identity, enrolment.installation, enrolment.client)

    def send(self, request: SignedRequest, since: float) -> None:
        """Ask; what is sent again counts from when it was sent first."""
        self.sent.setdefault(request.asked.id, (since, request))
        properties = request.properties(self._enrolment.client)
        self.asker.ask(Outgoing(self._requests, request.type, request.body, properties))

    def taken(self) -> Iterator[float]:
        """Open what has come; give how long each took."""
        for answer in self.asker.take():
            name = str(answer.properties.get("correlation_id"))
            since, request = self.sent.get(name, (0.0, None))
            if request is not None:
                self._open(answer, request)
                del self.sent[name]
                yield time.monotonic() - since

    def _open(self, answer: Original, request: SignedRequest) -> None:
        headers = answer.properties["application_headers"]
        checked = check_answer(
            answer.body, headers[SIGNATURE_HEADER], request, self._identity, self._enrolment,
            seen=self._seen, now_s=time.time(),
        )  # fmt: skip
        self._seen = checked.trust
        assert isinstance(checked.answer, DeliveredKey), checked.answer
        checked.answer.key.wipe()


@contextmanager
def lines_of(nodes: Sequence[Node]) -> Iterator[list[Line]]:
    """Connect nodes, each of which has got a key once."""
    with ExitStack() as stack:
        lines = []
        for node in nodes:
            line = Line(node)
            stack.callback(line.asker.close)
            lines.append(line)
        for line in lines:
            line.send(line.request(0), time.monotonic())
        _answered(lines)
        yield lines


@contextmanager
def in_flight(nodes: Sequence[Node], seconds: float, at_once: int) -> Iterator[Begin]:
    """Be ready to ask for as many keys as can be, with so many requests on their way."""
    with lines_of(nodes) as lines:
        yield partial(_flying, lines, seconds, at_once)


def _flying(lines: Sequence[Line], seconds: float, at_once: int, begin_at: float) -> Share:
    number, turn = 0, cycle(lines)
    waits: list[float] = []
    cpu_s, until = begun(begin_at), begin_at + seconds
    while time.monotonic() < until or any(it.sent for it in lines):
        free = at_once - sum(len(it.sent) for it in lines)
        for _ in range(free if time.monotonic() < until else 0):
            line = next(turn)
            line.send(line.request(number), time.monotonic())
            number += 1
        waits += _taken(lines)
    return Share(waits, time.monotonic(), time.process_time() - cpu_s)


@contextmanager
def boot(nodes: Sequence[Node]) -> Iterator[Begin]:
    """Be ready to have all nodes ask for all of their volumes at once."""
    with lines_of(nodes) as lines:
        # Signing is each node's own work, which all do at once.
        requests = [(line, line.request(it)) for line in lines for it in line.node.volumes]
        yield partial(_booting, lines, requests)


def _booting(
    lines: Sequence[Line], requests: Sequence[tuple[Line, SignedRequest]], begin_at: float
) -> Share:
    cpu_s = begun(begin_at)
    for line, request in requests:
        line.send(request, begin_at)
    waits, asked_again = _answered(lines)
    assert len(waits) == len(requests)
    return Share(waits, time.monotonic(), time.process_time() - cpu_s, asked_again)


def _answered(lines: Sequence[Line]) -> tuple[list[float], int]:
    """Wait until all is answered; return how long each took, and how many were sent again."""
    waits: list[float] = []
    asked_again, began = 0, time.monotonic()
    ask_again_at = began + ASK_AGAIN_S
    while any(it.sent for it in lines):
        waits += _taken(lines)
        now = time.monotonic()
        if now >= began + PATIENCE_S:
            left = sum(len(it.sent) for it in lines)
            raise RuntimeError(f"{left:,} were not answered in {PATIENCE_S:g} s")
        if now >= ask_again_at:
            ask_again_at = now + ASK_AGAIN_S
            for line in lines:
                for since, request in list(line.sent.values()):
                    line.send(request, since)
                    asked_again += 1
    return waits, asked_again


def _taken(lines: Sequence[Line]) -> list[float]:
    """Wait for what comes; return how long each took."""
    open_ = [it for it in lines if it.sent]
    wait_for_any([it.asker._link.connection for it in open_], WAIT_S)  # noqa: SLF001
    return [it for line in open_ for it in line.taken()]
