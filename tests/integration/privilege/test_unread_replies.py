"""What a client leaves unread, or half sent, does not fill the store, and workers go on.

Redis keeps every reply until its client takes it, and by itself sets no bound to that: four
connections of the account that may only read took it to 1.7 GB.
"""

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

import pytest
import redis
from redis.exceptions import ResponseError

from kmworker.crypto import Keyring, KeyringCustody
from kmworker.domain.plan import WriteStatus
from kmworker.store.bounds import unbounded
from kmworker.store.client import Gate
from tests.integration.privilege.accounts import Store
from tests.kit.parties.readers import packed
from tests.kit.polling import until
from tests.kit.servers import StoreServer
from tests.kit.store.backends import ServerBackend
from tests.kit.store.builders import Drafts, volume
from tests.kit.store.stand import Stand

MIB: Final = 1024 * 1024
CONNECTIONS: Final = 20
REQUESTS: Final = 12
# 4 MiB a reply: unbounded, they come to 960 MiB.
FIELDS, FIELD_BYTES = 100, 40 * 1024
# All clients together, one reply that was being made, and what the server itself takes.
MAX_BYTES: Final = (512 + 256 + 100) * MIB
# For one reply. How fast a busy server is is no test's business, only that it serves the worker.
PATIENCE_S: Final = 60.0
LARGE: Final = "km:{acme}:items"


class Watch(Thread):
    """Looks how much memory the server takes, again and again."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__(daemon=True)
        self.most_bytes = 0
        self._client: Any = client
        self._ended = Event()

    def run(self) -> None:
        while not self._ended.wait(0.01):
            self.most_bytes = max(self.most_bytes, self._client.info("memory")["used_memory"])

    def end(self) -> int:
        self._ended.set()
        self.join()
        return self.most_bytes


def test_replies_that_nobody_reads_fill_no_store_and_stop_no_worker(
    own_store: Store, tmp_path: Path
) -> None:
    with own_store.administrator() as client:
        fields: dict[Any, Any] = {f"volume:{i}": b"x" * FIELD_BYTES for i in range(FIELDS)}
        client.hset(LARGE, mapping=fields)
    asked = packed("HSCAN", LARGE, "0", "COUNT", "100000") * REQUESTS
    assert _while_others_misbehave(own_store, tmp_path, asked) < MAX_BYTES


def test_commands_that_are_never_sent_to_their_end_fill_no_store_and_stop_no_worker(
    own_store: Store, tmp_path: Path
) -> None:
    argument = b"$1048576\r\n" + b"x" * MIB + b"\r\n"
    asked = b"*1000\r\n$4\r\nECHO\r\n" + argument * 90
    assert _while_others_misbehave(own_store, tmp_path, asked) < MAX_BYTES


def _while_others_misbehave(store: Store, tmp_path: Path, asked: bytes) -> int:
    """Return how much memory the server took while others asked this and never read."""
    with ExitStack() as stack:
        worker = _Worker(store, tmp_path, stack)
        worker.commit("before")
        watch = Watch(stack.enter_context(store.administrator()))
        watch.start()
        others = [stack.enter_context(_logged_in(store.server)) for _ in range(CONNECTIONS)]
        senders = [Thread(target=_send, args=(it, asked), daemon=True) for it in others]
        for sender in senders:
            sender.start()
        for number in range(10):
            worker.commit(f"during-{number}")
            time.sleep(0.1)
        until(lambda: not any(it.is_alive() for it in senders), "all is sent, or refused")
        worker.commit("after")
        assert worker.connections() == 1
        return watch.end()


class _Worker:
    """A worker's store, by its own code, with its own account."""

    def __init__(self, store: Store, folder: Path, stack: ExitStack) -> None:
        keyring = Keyring.generate(folder / "keyring")
        backend = ServerBackend(store.server, PATIENCE_S)
        stand = Stand(backend, "km", KeyringCustody(keyring), stack)
        gate = Gate()
        self._made = 0
        self._draft = Drafts(keyring.newest)
        client = stand.client_behind(gate)
        pool: Any = client.connection_pool
        make: Callable[[], Any] = pool.make_connection
        pool.make_connection = lambda: self._counted(make)
        self._store = stand.store(client, gate=gate, allow_volatile=False)
        self._store.admit()

    def _counted(self, make: Callable[[], Any]) -> Any:
        self._made += 1
        return make()

    def connections(self) -> int:
        """Return how many it had to make."""
        return self._made

    def commit(self, name: str) -> None:
        """Create a key, on the one connection that it has."""
        (answer,) = self._store.commit([self._draft.create(volume(name, "beta"))]).result()
        assert answer.status is WriteStatus.WRITTEN


def test_a_server_keeps_no_long_name_for_a_connection(own_store: Store) -> None:
    # What a connection is called is counted nowhere.
    with _logged_in(own_store.server) as connection:
        _send(connection, packed("CLIENT", "SETNAME", "n" * 2 * MIB))
        assert b"Protocol error: invalid bulk length" in connection.recv(4096)


def test_a_workers_connection_alone_is_spared_where_memory_is_short(
    own_store: Store, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        _Worker(own_store, tmp_path, stack)
        stack.enter_context(own_store.client("dashboard")).ping()
        admin: Any = stack.enter_context(own_store.administrator())
        spared = {it["user"] for it in admin.client_list() if "e" in it["flags"]}
        assert spared == {"worker"}
        for user in ("dashboard", "operator", "key-operator", "repairer", "migrator"):
            with own_store.client(user) as other, pytest.raises(ResponseError, match="permission"):
                other.execute_command("CLIENT", "NO-EVICT", "ON")


def test_a_worker_without_that_right_works_all_the_same(own_store: Store, tmp_path: Path) -> None:
    with own_store.administrator() as client, ExitStack() as stack:
        client.execute_command("ACL", "SETUSER", "worker", "-client|no-evict")
        _Worker(own_store, tmp_path, stack).commit("v")


def test_a_server_without_bounds_is_told_from_one_with_them(own_store: Store) -> None:
    with own_store.client("worker") as worker, own_store.administrator() as client:
        assert unbounded(worker) == []
        client.config_set("maxmemory-clients", "0")
        client.config_set("client-output-buffer-limit", "normal 0 0 0")
        assert unbounded(worker) == [
            "client-output-buffer-limit normal 0 0 0", "maxmemory-clients 0",
        ]  # fmt: skip
    with own_store.client("dashboard") as dashboard:
        assert unbounded(dashboard) is None


def _logged_in(server: StoreServer) -> socket.socket:
    """Connect as a dashboard, with as little room for replies as there may be."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(30.0)
    connection.connect(("127.0.0.1", server.port))
    login = server.url_of("dashboard").removeprefix("redis://").partition("@")[0]
    _send(connection, packed("AUTH", *login.split(":")))
    assert connection.recv(64) == b"+OK\r\n"
    return connection


def _send(connection: socket.socket, what: bytes) -> None:
    try:
        connection.sendall(what)
    except ConnectionError:
        """The server has had enough."""
