"""A Redis client that never repeats a write by itself.

The library would send a whole pipeline again after a timeout. Our scripts bear that, but
what is retried, and when, is the worker's to decide: it has the batch.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import redis
from hiredis import pack_command
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import DataError
from redis.retry import Retry

from kmworker.errors import SetupError
from kmworker.redis_pipe import Pipe
from kmworker.settings import redacted_url

__all__ = ["Client", "Gate", "connect_to"]

# What replies are read as is not for a URL to say.
OURS: Final = {"protocol", "decode_responses", "encoding", "retry_on_timeout"}


class Client(redis.Redis):
    """The library's client, with a pipe on the one connection that it has."""

    @cached_property
    def pipe(self) -> Pipe:
        """Sends commands whose replies are waited for later."""
        pool = self.connection_pool
        return pool.pipe if isinstance(pool, _Pool) else Pipe(pool)


class _Pool(redis.ConnectionPool):
    """Connections, of which one is enough: the pipe gives it up to whoever asks for one.

    With a second one, the two could be to different servers after a failover.
    """

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # the library's
        super().__init__(*args, **options)
        self.pipe = Pipe(self)

    def get_connection(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401  # as above
        """Return a connection that nobody else is using."""
        self.pipe.rest()
        untyped: Any = super()
        return untyped.get_connection(*args, **options)


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
        pool = _Pool.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            redis_connect_func=on_connect,
            command_packer=_Packer(),
        )
        # Connects to nothing, and takes no option that it does not know: better now than later.
        pool.connection_class(**pool.connection_kwargs)
        _refuse_overriding(url)
    except (ValueError, TypeError) as wrong:
        raise SetupError(
            f"{redacted_url(url)}: {wrong}", hint="compare it with config/kmworker.toml"
        ) from None
    client = Client(connection_pool=pool)
    client.auto_close_connection_pool = True
    return client


def _refuse_overriding(url: str) -> None:
    for name, _value in parse_qsl(urlsplit(url).query, keep_blank_values=True):
        if name in OURS:
            raise ValueError(f"{name} is not for the URL to choose")
