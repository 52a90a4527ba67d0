"""Redis and Valkey: two programs, one way to start them."""

from collections.abc import Mapping
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers import locate
from tests.servers.ports import free_port
from tests.servers.server import Server

PROBE_TIMEOUT_S = 1.0

# The durability that kmworker demands of a store before it entrusts keys to it.
DURABLE = {"appendfsync": "always", "appendonly": "yes", "save": '""'}
VOLATILE = {"appendonly": "no", "save": '""'}


class StoreServer(Server):
    """A private Redis or Valkey, durable unless its options say otherwise."""

    def __init__(self, program: Path, folder: Path, options: Mapping[str, str]) -> None:
        """Prepare `program`; `options` are lines of its configuration file, and win."""
        port = free_port()
        super().__init__(folder, port=port, url=f"redis://127.0.0.1:{port}/0")
        self._program = program
        self._options = {"bind": "127.0.0.1", "dir": str(folder), "port": str(port)}
        self._options |= DURABLE | dict(options)

    def command(self) -> list[str]:
        """Run it with a file, so that `CONFIG REWRITE` and people find one."""
        path = self.folder / "store.conf"
        if not path.exists():
            path.write_text("".join(f"{name} {value}\n" for name, value in self._options.items()))
        return [str(self._program), str(path)]

    def answers(self) -> bool:
        """Whether it serves commands; while it loads its data, it does not."""
        try:
            with self._client_that_tries_once() as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            # Someone is at home who does not know us: the test has locked the default user.
            return True
        except redis.RedisError:
            return False

    def _client_that_tries_once(self) -> redis.Redis:
        return redis.Redis(
            port=self.port, retry=Retry(NoBackoff(), 0), socket_timeout=PROBE_TIMEOUT_S
        )


def redis_store(folder: Path, options: Mapping[str, str] | None = None) -> StoreServer:
    """Prepare a private Redis."""
    return StoreServer(locate.redis_server(), folder, options or {})


def valkey_store(folder: Path, options: Mapping[str, str] | None = None) -> StoreServer:
    """Prepare a private Valkey."""
    return StoreServer(locate.valkey_server(), folder, options or {})
