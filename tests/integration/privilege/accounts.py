"""The shipped accounts, switched on with passwords as an operator would do it."""

import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, NamedTuple

import pika
import redis
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection

from tests.integration.outside.reader import Reader
from tests.integration.outside.worker import Site
from tests.servers import RabbitMQ, StoreServer

CONFIG: Final = Path(__file__).resolve().parents[3] / "config"
ADMINISTRATOR: Final = "tests-administrator"
# The shipped files name these, so the tests here keep apart by their servers.
NAMESPACE, PREFIX, VHOST = "kmworker", "km", "kmworker"

STORE_USERS: Final = ("worker", "dashboard", "operator", "key-operator", "repairer")
BROKER_USERS: Final = ("producer", "worker", "subscriber", "operator")


class Passwords:
    """A folder with one file for each account, as the scripts beside the accounts want it."""

    def __init__(self, folder: Path) -> None:
        """Make a password for every account there is."""
        self._folder = folder
        for server, users in (("redis", STORE_USERS), ("rabbitmq", BROKER_USERS)):
            for user in users:
                (folder / f"{server}-{user}").write_text(f"{token_hex(16)}\n")

    def of(self, server: str, user: str) -> str:
        """Return an account's password."""
        return (self._folder / f"{server}-{user}").read_text().strip()

    def filled(self, server: str, source: str) -> str:
        """Return a shipped file of accounts with these passwords in it."""
        return filled(server, source, self._folder)


def filled(server: str, source: str, folder: Path) -> str:
    """Run `with-passwords.sh` on a shipped file."""
    shipped = CONFIG / server / source
    script = [str(CONFIG / server / "with-passwords.sh"), str(folder)]
    with shipped.open() as file:
        done = subprocess.run(script, stdin=file, capture_output=True, text=True, check=True)
    return done.stdout


def store_options(folder: Path, users: str) -> dict[str, str]:
    """Return what starts a store on the shipped configuration with these users.

    What comes before the shipped file is the opposite of what it demands, so that a setting
    which it forgets is seen.
    """
    path = folder / "users.acl"
    path.write_text(users)
    return {
        "appendonly": "no",
        "appendfsync": "everysec",
        "maxmemory-policy": "allkeys-lru",
        "no-appendfsync-on-rewrite": "yes",
        "save": "3600 1",
        "include": str(CONFIG / "redis" / "kmworker.conf"),
        "aclfile": str(path),
    }


def administrator(password: str) -> str:
    """Return a line of users.acl for someone who may ask what the others may."""
    return f"user {ADMINISTRATOR} on #{sha256(password.encode()).hexdigest()} ~* &* +@all\n"


def definitions(folder: Path, passwords: Passwords) -> Path:
    """Write what a broker loads at its start: the shipped file, and our own user."""
    loaded = folder / "definitions"
    loaded.mkdir()
    (loaded / "definitions.json").write_text(passwords.filled("rabbitmq", "definitions.json"))
    harness = {
        # The one by which the tests' server is asked whether it answers.
        "vhosts": [{"name": "/"}],
        "users": [{"name": "guest", "password": "guest", "tags": ["administrator"]}],
        "permissions": [
            {"user": "guest", "vhost": vhost, "configure": ".*", "write": ".*", "read": ".*"}
            for vhost in ("/", VHOST)
        ],
    }
    (loaded / "harness.json").write_text(json.dumps(harness))
    return loaded


@dataclass(frozen=True, slots=True)
class Store:
    """A running store with the shipped users."""

    server: StoreServer
    passwords: Passwords
    administrators_password: str

    def url(self, user: str) -> str:
        """Return where an account finds it."""
        return f"redis://{user}:{self.passwords.of('redis', user)}@127.0.0.1:{self.server.port}/0"

    def client(self, user: str) -> redis.Redis:
        """Connect as one of the accounts."""
        return redis.Redis.from_url(self.url(user), protocol=2)

    def administrator(self) -> redis.Redis:
        """Connect as someone who may do everything."""
        return redis.Redis(
            port=self.server.port,
            username=ADMINISTRATOR,
            password=self.administrators_password,
            protocol=2,
        )

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
    passwords: Passwords
    loaded: Path
    """The folder of definitions that it loads at its start."""

    def url(self, user: str, *, password: str | None = None, vhost: str = VHOST) -> str:
        """Return where an account finds it."""
        if password is None:
            password = self.passwords.of("rabbitmq", user)
        return f"amqp://{user}:{password}@127.0.0.1:{self.server.port}/{vhost}"

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
            self.broker.url(broker_user),
            self.store.url(store_user),
            NAMESPACE,
            PREFIX,
            settings=dict(setting.split("=", 1) for setting in settings),
        )

    @property
    def reader(self) -> Reader:
        """Look at the store as a dashboard."""
        return Reader.of(self.store.url("dashboard"), PREFIX)


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
