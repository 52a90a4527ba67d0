"""Servers with the shipped accounts, as each account finds them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import pika
import redis
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection

from kmworker.crypto import Keyring
from tests.kit.outside.reader import Reader
from tests.kit.outside.worker import Site
from tests.kit.servers import ADMIN, NAMESPACE, PREFIX, RabbitMQ, StoreServer
from tests.kit.servers.accounts import ADMIN_USER, CONFIG, filled, passwords

__all__ = [
    "BROKER_USERS", "CONFIG", "NAMESPACE", "PREFIX", "STORE_USERS", "VHOST", "Broker",
    "Installation", "Store", "Taken", "filled", "take",
]  # fmt: skip

VHOST: Final = NAMESPACE
STORE_USERS: Final = (
    "worker", "dashboard", "operator", "key-operator", "janitor", "repairer", "rewrapper",
    "migrator",
)  # fmt: skip
BROKER_USERS: Final = (
    "producer", "worker", "subscriber", "operator", "recorder", "auditor", "keyserver", "client",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Store:
    """A running store with the shipped users."""

    server: StoreServer

    def client(self, user: str) -> redis.Redis:
        """Connect as one of the accounts."""
        return redis.Redis.from_url(self.server.url_of(user), protocol=2)

    def administrator(self) -> redis.Redis:
        """Connect as someone who may do everything."""
        return self.server.admin()

    def permitted(self, user: str) -> set[str]:
        """Return all commands of this server that an account may call, on whatever key.

        What concerns nothing but the caller's own connection is left out.
        """
        with self.administrator() as client:
            own = _category(client, "connection") - _category(client, "dangerous")
            return {command for command in _commands(client, user) if command not in own}

    def denials(self) -> list[Mapping[str, Any]]:
        """Return what was refused to whom, since the last time that someone asked."""
        with self.administrator() as client:
            log: list[Mapping[str, Any]] = client.acl_log()
            client.acl_log_reset()
        return log


@dataclass(frozen=True, slots=True)
class Broker:
    """A running broker with the shipped users and names."""

    server: RabbitMQ

    def url(self, user: str, *, password: str | None = None, vhost: str = VHOST) -> str:
        """Return where an account finds it."""
        if password is None:
            password = self.password(user)
        return f"amqp://{user}:{password}@127.0.0.1:{self.server.port}/{vhost}"

    def password(self, user: str) -> str:
        """Return an account's password."""
        return passwords().of("rabbitmq", "admin" if user == ADMIN_USER else user)

    def connect(
        self, user: str, *, password: str | None = None, vhost: str = VHOST
    ) -> BlockingConnection:
        """Connect as one of the accounts."""
        return BlockingConnection(
            pika.URLParameters(self.url(user, password=password, vhost=vhost))
        )


class Taken(NamedTuple):
    """A message that is no longer in its queue."""

    body: bytes
    headers: dict[str, Any]


def take(channel: BlockingChannel, queue: str) -> Taken | None:
    """Take the next message, if there is one."""
    method, properties, body = channel.basic_get(queue, auto_ack=True)
    if method is None:
        return None
    headers: dict[str, Any] = dict((properties and properties.headers) or {})
    return Taken(body or b"", headers)


@dataclass(frozen=True, slots=True)
class Installation:
    """A store, a broker, and a folder with the keyring."""

    store: Store
    broker: Broker
    folder: Path

    def site(self, store_user: str, broker_user: str, settings: Iterable[str] = ()) -> Site:
        """Return the program, run by someone who has these two accounts."""
        return Site(
            self.folder,
            self.broker.server,
            self.store.server,
            NAMESPACE,
            PREFIX,
            settings=dict(setting.split("=", 1) for setting in settings),
        ).with_accounts(store=store_user, broker=broker_user)

    def make_keyring(self) -> None:
        """Make a keyring of its own.

        The broker's names are the shipped ones, and other stores were there before: under the
        same keyring, what is left of them on the broker would be what this store has lost.
        """
        Keyring.generate(self.folder / "keyring")

    @property
    def reader(self) -> Reader:
        """Look at the store as a dashboard."""
        server = self.store.server
        return Reader.of(server.url_of("dashboard"), server.url_of(ADMIN), PREFIX)


def _category(client: redis.Redis, name: str) -> set[str]:
    found: Any = client.execute_command("ACL", "CAT", name)
    return {command.decode() for command in found}


def _commands(client: redis.Redis, user: str) -> Iterator[str]:
    for command, arity in _arities(client).items():
        words = command.split("|")
        # The command is judged before its arguments, if only there are enough of them.
        filling = ["km:{p}:items"] * (abs(arity) - len(words))
        answer: Any = client.execute_command("ACL", "DRYRUN", user, *words, *filling)
        if b"permissions to run" not in answer:
            yield command


def _arities(client: redis.Redis) -> dict[str, int]:
    names: Any = client.execute_command("COMMAND LIST")
    commands = sorted(name.decode() for name in names)
    containers = {command.partition("|")[0] for command in commands if "|" in command}
    single = [command for command in commands if command not in containers]
    found: Any = client.execute_command("COMMAND INFO", *single)
    return {name: info[1] for name, info in zip(single, found, strict=True)}
