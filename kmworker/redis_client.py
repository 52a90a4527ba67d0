"""A Redis client that never repeats a write by itself.

The library would send a whole pipeline again after a timeout. Our scripts bear that, but
what is retried, and when, is the worker's to decide: it has the batch.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
from hiredis import pack_command
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import DataError
from redis.retry import Retry

from kmworker.errors import SetupError
from kmworker.settings import redacted_url

__all__ = ["Client", "Gate", "connect_to"]

Client = redis.Redis


class Gate:
    """Lets a client connect only while someone looks at what it is connected to.

    The library connects anew by itself, without a word, to whatever answers then: a server
    that was restored from an old copy, say. A lost connection must be seen to be lost.
    """

    def __init__(self) -> None:
        self._is_open = False

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Let connections be made."""
        self._is_open = True
        try:
            yield
        finally:
            self._is_open = False

    def on_connect(self, connection: Any) -> None:  # noqa: ANN401  # the library's, untyped
        """Greet the server, or refuse to: the library calls this for each new connection."""
        if not self._is_open:
            raise ConnectionLost("the connection was lost")
        connection.on_connect()


class _Packer:
    """Packs commands as the library does, without a look at the type of every argument."""

    def pack(self, *args: Any) -> list[bytes]:  # noqa: ANN401  # whatever commands take
        """Return a command in the server's protocol."""
        name = args[0]
        # The library has commands of two words.
        if isinstance(name, str) and " " in name:
            args = (*name.split(), *args[1:])
        try:
            return [pack_command(args)]
        except TypeError as wrong:
            raise DataError(str(wrong)) from None


def connect_to(
    url: str, timeout_s: float, on_connect: Callable[[Any], None] | None = None
) -> Client:
    """Return a client; nothing is sent yet.

    Args:
        url: of the server.
        timeout_s: for connecting, and for each answer.
        on_connect: greets the server on each new connection, in place of the library.

    Raises:
        SetupError: the client library does not take the URL.
    """
    try:
        return redis.Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            redis_connect_func=on_connect,
            command_packer=_Packer(),
        )
    except (ValueError, TypeError) as wrong:
        raise SetupError(
            f"{redacted_url(url)}: {wrong}", hint="compare it with config/kmworker.toml"
        ) from None
