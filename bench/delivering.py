"""Deliveries a second and how long they take, beside OpenBao, and a boot storm.

    python -m bench.delivering                                    as below, some four minutes
    python -m bench.delivering --volumes 200 --nodes 5 --seconds 2    to see that it runs

Private servers, shipped accounts. Clients and OpenBao's are one Python process, which opens what it
gets; nodes of the storm are connections of one client that answers for all of them. Ratios within
one run are what counts: clients, broker, store and key servers share the machine. What of it each
of them takes is in the last columns: microseconds of CPU for each delivery.
"""

import argparse
import json
import os
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http.client import HTTPSConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any, Final

from bench.processes import cpu_s, pids_below
from bench.tables import table
from kmworker.delegation.requests import SignedRequest
from tests.kit.outside.asking import Host, Line, host_of, lined
from tests.kit.outside.delegating import NODE, Delegation, P, attached, delegating, serving
from tests.kit.outside.wire import said
from tests.kit.outside.worker import Site, Worker
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ, redis_store
from tests.kit.servers.openbao import OpenBao

VOLUMES: Final = 2_000
NODES: Final = 50
SECONDS: Final = 10.0
RATE_PER_S: Final = 100.0
IN_FLIGHT: Final = 200
THREADS: Final = 16
"""Of OpenBao's clients: each has one request at a time."""
CONNECTIONS: Final = 18
"""Of the nodes, which are one user of the broker's: the shipped accounts have 20 at most."""
ASK_AGAIN_S: Final = 10.0
PATIENCE_S: Final = 120.0
BOOTING: Final = {
    # All nodes are one client here.
    "KMWORKER_KEYSERVER__RATE_PER_S": "100000",
    "KMWORKER_KEYSERVER__BURST": "1000000",
}

HEADS: Final = (
    "what", "a second", "median ms", "99% ms", "worst ms",
    "servers µs", "broker µs", "store µs", "clients µs",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Waits:
    """How long each took, in seconds, and all of them together."""

    each_s: Sequence[float]
    all_s: float

    @property
    def per_s(self) -> float:
        """Return how many there were in a second."""
        return len(self.each_s) / self.all_s

    def row(self, name: str) -> list[str]:
        """Return what there is to say of it."""
        ordered = sorted(self.each_s)
        at = (ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)], ordered[-1])
        return [name, f"{self.per_s:,.0f}", *(f"{1e3 * it:,.1f}" for it in at)]


@dataclass(frozen=True, slots=True)
class Parties:
    """Whose CPU time it takes; nobody's where there is none."""

    servers: Sequence[int]
    """Process ids: of key servers, or of OpenBao."""
    broker: Sequence[int] = ()
    store: Sequence[int] = ()

    def row(self, name: str, measured: Callable[[], Waits]) -> list[str]:
        """Measure; return what there is to say of it."""
        before = self._spent_s()
        waits = measured()
        spent = (now - then for now, then in zip(self._spent_s(), before, strict=True))
        return [*waits.row(name), *(f"{1e6 * it / len(waits.each_s):,.0f}" for it in spent)]

    def _spent_s(self) -> list[float]:
        each = (self.servers, self.broker, self.store)
        spent = (cpu_s(it for pid in pids for it in pids_below(pid)) for pids in each)
        return [*spent, process_time()]


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.delivering", description=__doc__)
    parser.add_argument("--volumes", type=int, default=VOLUMES, help="in the storm")
    parser.add_argument("--nodes", type=int, default=NODES, help="in the storm")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each measurement")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    with TemporaryDirectory(prefix="kmworker-bench-") as folder, ExitStack() as stack:
        made, all_but_servers = stack.enter_context(
            _installed(Path(folder), given.volumes, given.nodes)
        )
        bao = stack.enter_context(_openbao(Path(folder) / "openbao"))
        beside = measure(made, all_but_servers, bao, given.volumes, given.seconds)
        print("\n".join(table(HEADS, list(beside))))
        print(f"\nboot storm: {given.volumes:,} volumes by {given.nodes} nodes, all at once")
        print(
            "\n".join(table(HEADS, list(storm(made, all_but_servers, given.volumes, given.nodes))))
        )
    print(f"load average before: {load:.1f}, of {os.cpu_count()} cores, which all of this shares")


@contextmanager
def _installed(folder: Path, volumes: int, nodes: int) -> Iterator[tuple[Delegation, Parties]]:
    """Run an installation, without key servers; each volume is attached to one of the nodes."""
    (folder / "broker").mkdir()
    (folder / "store").mkdir()
    (folder / "site").mkdir()
    broker, store = RabbitMQ(folder / "broker"), redis_store(folder / "store")
    try:
        broker.start()
        store.start()
        site = Site(folder / "site", broker, store, "kmworker", "km", settings=dict(BOOTING))
        site.lay_keyring()
        answers_for = [it for number in range(nodes) for it in ("--node", node_of(number))]
        with delegating(site, 0, "--project", "*", "--node", NODE, *answers_for) as made:
            made.tell(*(_created(it) for it in range(volumes)))
            made.tell(*(attached(f"v{it}", node=node_of(it % nodes)) for it in range(volumes)))
            grants = f"km:{{{P}}}:grants"
            count: Any = site.reader.admin
            until(lambda: count.hlen(grants) == volumes, "all are attached", within_s=PATIENCE_S)
            yield made, Parties((), [broker.pid], [store.pid])
    finally:
        broker.close()
        store.close()


def node_of(number: int) -> str:
    """Return a node's name."""
    return f"node-{number}"


def _created(number: int) -> str:
    event = said("volume-created", f"new v{number}", P, volume_id=f"v{number}")
    return event.body.decode() + "\n"


@contextmanager
def _openbao(folder: Path) -> Iterator[OpenBao]:
    folder.mkdir()
    server = OpenBao(folder)
    try:
        server.start()
        yield server
    finally:
        server.close()


def measure(
    made: Delegation, others: Parties, bao: OpenBao, volumes: int, seconds: float
) -> Iterator[list[str]]:
    """Give a row for each measurement."""
    host = host_of(made)
    decrypt = _decrypting(bao)
    for number in (1, 2):
        with serving(made.site, number) as serve, lined(host) as line:
            parties, servers = _with(others, serve), _so_many(number)
            _until_answered(host, line)
            most = partial(pipelined, host, line, volumes, seconds)
            yield parties.row(f"{servers}, as many as can be", most)
            each = partial(paced, host, line, volumes, seconds)
            yield parties.row(f"{servers}, {RATE_PER_S:g} a second", each)
    peer, name = Parties([bao.pid]), "OpenBao transit decrypt"
    yield peer.row(f"{name}, as many as can be", partial(in_threads, decrypt, seconds))
    yield peer.row(f"{name}, {RATE_PER_S:g} a second", partial(paced_in_threads, decrypt, seconds))


def _with(others: Parties, servers: Sequence[Worker]) -> Parties:
    return replace(others, servers=[it.process.pid for it in servers])


def _so_many(number: int) -> str:
    return f"{number} key server{'s' if number > 1 else ''}"


def _until_answered(host: Host, line: Line) -> None:
    """Have caches and connections there before the clock runs."""
    for number in range(20):
        request = host.request(f"v{number}")
        host.key_in(line.ask(request), request)


def pipelined(host: Host, line: Line, volumes: int, seconds: float) -> Waits:
    """Keep so many requests in flight."""
    sent: dict[str, tuple[float, SignedRequest]] = {}
    waits: list[float] = []
    began, number = time.monotonic(), 0
    while sent or time.monotonic() < began + seconds:
        while len(sent) < IN_FLIGHT and time.monotonic() < began + seconds:
            _send(host, line, number % volumes, sent)
            number += 1
        waits += _taken(host, line, sent, 1.0)
    return Waits(waits, time.monotonic() - began)


def paced(host: Host, line: Line, volumes: int, seconds: float) -> Waits:
    """Ask when it is due, whatever became of those before."""
    sent: dict[str, tuple[float, SignedRequest]] = {}
    waits: list[float] = []
    began, number = time.monotonic(), 0
    while sent or number < seconds * RATE_PER_S:
        due = began + number / RATE_PER_S
        if number < seconds * RATE_PER_S and time.monotonic() >= due:
            _send(host, line, number % volumes, sent, due)
            number += 1
            continue
        waits += _taken(host, line, sent, max(0.001, min(due - time.monotonic(), 0.1)))
    return Waits(waits, time.monotonic() - began)


def _send(
    host: Host,
    line: Line,
    number: int,
    sent: dict[str, tuple[float, SignedRequest]],
    due: float | None = None,
) -> None:
    request = host.request(f"v{number}")
    sent[request.asked.id] = (due or time.monotonic(), request)
    line.send(request)


def _taken(
    host: Host, line: Line, sent: dict[str, tuple[float, SignedRequest]], timeout_s: float
) -> list[float]:
    """Open what has come; return how long it took."""
    line.pump(timeout_s)
    waits = []
    for answer in line.answers:
        since, request = sent.pop(answer.properties["correlation_id"], (0.0, None))
        if request is not None:
            host.key_in(answer, request)
            waits.append(time.monotonic() - since)
    line.answers.clear()
    return waits


# --- OpenBao --------------------------------------------------------------------------------


def _decrypting(bao: OpenBao) -> Callable[[], Callable[[], None]]:
    """Return what makes a client: it decrypts a key of 64 bytes, on a connection of its own."""
    plain = {"plaintext": "QUFB" * 21 + "QQ=="}
    sealed = bao.ask("POST", "transit/encrypt/kek", plain)["data"]["ciphertext"]
    body = json.dumps({"ciphertext": sealed})
    login = {"role_id": bao.role_id, "secret_id": bao.secret_id_path.read_text().strip()}
    token = bao.ask("POST", "auth/approle/login", login)["auth"]["client_token"]
    tls = ssl.create_default_context(cafile=str(bao.ca))

    def client() -> Callable[[], None]:
        connection = HTTPSConnection("127.0.0.1", bao.port, context=tls, timeout=PATIENCE_S)

        def decrypt() -> None:
            headers = {"X-Vault-Token": token}
            connection.request("POST", "/v1/transit/decrypt/kek", body, headers)
            found = json.loads(connection.getresponse().read())
            assert found["data"]["plaintext"] == plain["plaintext"]

        return decrypt

    return client


def in_threads(client: Callable[[], Callable[[], None]], seconds: float) -> Waits:
    """Ask again as soon as there is an answer, from several threads."""
    began = time.monotonic()

    def go_on(_thread: int) -> list[float]:
        decrypt, waits = client(), []
        while (since := time.monotonic()) < began + seconds:
            decrypt()
            waits.append(time.monotonic() - since)
        return waits

    with ThreadPoolExecutor(THREADS) as pool:
        each = [it for waits in pool.map(go_on, range(THREADS)) for it in waits]
    return Waits(each, time.monotonic() - began)


def paced_in_threads(client: Callable[[], Callable[[], None]], seconds: float) -> Waits:
    """Ask when it is due."""
    clients = [client() for _ in range(THREADS)]
    for decrypt in clients:
        decrypt()
    began = time.monotonic()

    def go_on(thread: int) -> list[float]:
        waits = []
        for number in range(thread, int(seconds * RATE_PER_S), THREADS):
            due = began + number / RATE_PER_S
            time.sleep(max(0.0, due - time.monotonic()))
            clients[thread]()
            waits.append(time.monotonic() - due)
        return waits

    with ThreadPoolExecutor(THREADS) as pool:
        each = [it for waits in pool.map(go_on, range(THREADS)) for it in waits]
    return Waits(each, time.monotonic() - began)


# --- the storm --------------------------------------------------------------------------------


def storm(made: Delegation, others: Parties, volumes: int, nodes: int) -> Iterator[list[str]]:
    """All nodes start at once, and ask for all of their volumes."""
    host = host_of(made)
    for number in (1, 2):
        with serving(made.site, number) as serve, ExitStack() as stack:
            lines = [stack.enter_context(lined(host)) for _ in range(min(nodes, CONNECTIONS))]
            _until_answered(host, lines[0])
            yield _with(others, serve).row(_so_many(number), partial(_booted, host, lines, volumes))


def _booted(host: Host, lines: Sequence[Line], volumes: int) -> Waits:
    sent: list[dict[str, tuple[float, SignedRequest]]] = [{} for _ in lines]
    # Signing is each node's own work, which all do at once.
    requests = [(it % len(lines), host.request(f"v{it}")) for it in range(volumes)]
    began = time.monotonic()
    for node, request in requests:
        sent[node][request.asked.id] = (began, request)
        lines[node].send(request)
    waits: list[float] = []
    ask_again_at = began + ASK_AGAIN_S
    while any(sent) and time.monotonic() < began + PATIENCE_S:
        for line, left in zip(lines, sent, strict=True):
            if left:
                waits += _taken(host, line, left, 0.001)
        if time.monotonic() >= ask_again_at:
            ask_again_at += ASK_AGAIN_S
            for line, left in zip(lines, sent, strict=True):
                print(f"asked again: {len(left):,}")
                for _since, request in left.values():
                    line.send(request)
    if any(sent):
        raise RuntimeError(f"{sum(map(len, sent)):,} were not answered in {PATIENCE_S:g} s")
    return Waits(waits, time.monotonic() - began)


if __name__ == "__main__":
    main()
