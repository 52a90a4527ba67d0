"""Redis and Valkey: two programs, one way to start them, with the shipped accounts and settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.kit.polling import PATIENCE_S, until
from tests.kit.servers import accounts, locate
from tests.kit.servers.accounts import ADMIN, CONFIG, PREFIX
from tests.kit.servers.ports import free_port
from tests.kit.servers.server import Server

PROBE_TIMEOUT_S = 1.0

# The opposite of what the shipped file demands, so that a setting which it forgets is seen.
CARELESS: Final = {
    "appendonly": "no",
    "appendfsync": "everysec",
    "maxmemory-policy": "allkeys-lru",
    "no-appendfsync-on-rewrite": "yes",
    "save": "3600 1",
}
SHIPPED: Final = {"include": str(CONFIG / "redis" / "kmworker.conf")}
# What `kmworker up` demands of the server in its folder.
EMBEDDED: Final = {"appendonly": "yes", "appendfsync": "always", "save": '""'}
VOLATILE = {"appendonly": "no", "save": '""'}


class StoreServer(Server):
    """A private Redis or Valkey, durable unless its options say otherwise."""

    def __init__(self, program: Path, folder: Path, options: Mapping[str, str]) -> None:
        """Prepare `program`; `options` are lines of its configuration file, and win."""
        super().__init__(folder, port=free_port())
        self._program = program
        self._names = {PREFIX}
        self._users = folder / "users.acl"
        own = {"bind": "127.0.0.1", "dir": str(folder), "port": str(self.port)}
        follower = accounts.follower_options() if "replicaof" in options else {}
        # In this order: of two lines with one name, the later one counts.
        self._options = [
            pair for it in (own, self._shipped(), follower, options) for pair in it.items()
        ]

    def command(self) -> list[str]:
        """Run it with a file, so that `CONFIG REWRITE` and people find one."""
        path = self.folder / "store.conf"
        if not path.exists():
            path.write_text("".join(f"{name} {value}\n" for name, value in self._options))
            self._write_users()
        return [str(self._program), str(path)]

    def answers(self) -> bool:
        """Whether it serves commands; while it loads its data, it does not."""
        try:
            with self._client_that_tries_once() as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            # Someone is at home who does not know us: the test has brought other users.
            return True
        except redis.RedisError:
            return False

    def url_of(self, role: str, names: str = PREFIX, *, port: int = 0) -> str:
        """Return where an account of the installation with this prefix finds it.

        The accounts of a prefix are there from the first time on that somebody asks.
        """
        if role != ADMIN and names not in self._names:
            self._add_users(names)
        login = f"{accounts.store_user(role, names)}:{accounts.passwords().of('redis', role)}"
        return f"redis://{login}@127.0.0.1:{port or self.port}/0"

    def admin(self, *, protocol: int = 2) -> "redis.Redis":
        """Connect as the tests' own administrator."""
        return redis.Redis.from_url(self.url_of(ADMIN), protocol=protocol)

    def rewrite(self, *, within_s: float = PATIENCE_S) -> None:
        """Have the append-only file written anew."""
        with self.admin() as client:
            client.bgrewriteaof()
            until(lambda: _is_rewritten(client), "the file is rewritten", within_s=within_s)

    def follow(self, primary: "StoreServer") -> None:
        """Become a replica, with the account that the shipped README gives to one."""
        with self.admin() as client:
            for name, value in accounts.follower_options().items():
                client.config_set(name, value)
            client.execute_command("REPLICAOF", "127.0.0.1", primary.port)

    def lead(self) -> None:
        """Be a primary from now on, also after the next start."""
        with self.admin() as client:
            client.execute_command("REPLICAOF", "NO", "ONE")
            for name in accounts.follower_options():
                client.config_set(name, "")

    def forget(self, names: str) -> None:
        """Delete the keys and the accounts of a prefix."""
        if names not in self._names or names == PREFIX:
            return
        self._names.remove(names)
        users = [line.split()[1] for line in accounts.store_users(names)]
        with self.admin() as client:
            keys = list(client.scan_iter(match=f"{names}*", count=500))
            if keys:
                client.unlink(*keys)
            client.execute_command("ACL", "DELUSER", *users)

    def _shipped(self) -> dict[str, str]:
        return CARELESS | SHIPPED | {"aclfile": str(self._users)}

    def _write_users(self) -> None:
        lines = [*accounts.default_lines(), *accounts.store_users(PREFIX)]
        lines += [accounts.admin_line(), accounts.replica_line()]
        self._users.write_text("".join(f"{line}\n" for line in lines))

    def _add_users(self, prefix: str) -> None:
        lines = accounts.store_users(prefix)
        with self.admin() as client:
            for line in lines:
                _user, *words = line.split()
                client.execute_command("ACL", "SETUSER", *words)
        self._keep_users(lines)
        self._names.add(prefix)

    def _keep_users(self, lines: list[str]) -> None:
        """Add them to the file, too: the server will be started again with it."""
        with self._users.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    def _client_that_tries_once(self) -> redis.Redis:
        return redis.Redis.from_url(
            self.url_of(ADMIN), retry=Retry(NoBackoff(), 0), socket_timeout=PROBE_TIMEOUT_S
        )


class EmbeddedStore(StoreServer):
    """A server as `kmworker up` has one in its folder: durable, its owner's alone, no accounts."""

    def url_of(self, role: str, names: str = PREFIX, *, port: int = 0) -> str:
        """Return the one address that there is."""
        del role, names
        return f"redis://127.0.0.1:{port or self.port}/0"

    def forget(self, names: str) -> None:
        """Delete keys and streams that bear these names."""
        with self.admin() as client:
            for key in client.scan_iter(match=f"{names}*", count=500):
                client.unlink(key)

    def _shipped(self) -> dict[str, str]:
        return EMBEDDED

    def _write_users(self) -> None:
        return


def _is_rewritten(client: "redis.Redis") -> bool:
    found: Any = client.info("persistence")
    is_pending = found["aof_rewrite_in_progress"] or found["aof_rewrite_scheduled"]
    return not is_pending and found["aof_last_bgrewrite_status"] == "ok"


def redis_store(folder: Path, options: Mapping[str, str] | None = None) -> StoreServer:
    """Prepare a private Redis."""
    return StoreServer(locate.redis_server(), folder, options or {})


def valkey_store(folder: Path, options: Mapping[str, str] | None = None) -> StoreServer:
    """Prepare a private Valkey."""
    return StoreServer(locate.valkey_server(), folder, options or {})


def embedded_store(folder: Path, options: Mapping[str, str] | None = None) -> StoreServer:
    """Prepare a private Valkey, as the embedded mode has it."""
    return EmbeddedStore(locate.valkey_server(), folder, options or {})
