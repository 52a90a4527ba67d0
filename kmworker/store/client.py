"""A Redis client that never repeats a write by itself.

The library would send a whole pipeline again after a timeout. Our scripts bear that, but
what is retried, and when, is the worker's to decide: it has the batch.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Final

import redis
from hiredis import pack_command
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import DataError, ResponseError
from redis.exceptions import TimeoutError as NoAnswer
from redis.retry import Retry

from kmworker.errors import SetupError
from kmworker.settings.tls import checked_options, client_context
from kmworker.settings.urls import STREAM_SCHEMES, Address, parse, redacted_url
from kmworker.store.pipe import Pipe

__all__ = ["Client", "Gate", "connect_to", "greet_server", "server_in"]

# The library has more, but what replies are read as, and when to give up, is not for a URL to say.
OPTIONS: Final[Mapping[str, Callable[[str], object]]] = {
    "db": int,
    "username": str,
    "password": str,
    "client_name": str,
    "health_check_interval": int,
}
PORT: Final = 6379
NO_DATABASE: Final = ("out of range", "invalid DB index", "SELECT is not allowed")


class Client(redis.Redis):
    """The library's client, with a pipe on the one connection that it has."""

    @cached_property
    def pipe(self) -> Pipe:
        """Sends commands whose replies are waited for later."""
        pool = self.connection_pool
        return pool.pipe if isinstance(pool, _Pool) else Pipe(pool)

    def drop_connections(self) -> None:
        """Let the next command connect anew: to whatever the name leads to then."""
        self.pipe.drop()
        self.connection_pool.disconnect()


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
        greet_server(connection)


class _Named:
    """Notes on what a connection meets with where it led; the library tells only now and then."""

    def connect_check_health(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # the library's
        """Connect, and greet the server."""
        untyped: Any = super()
        try:
            untyped.connect_check_health(*args, **options)
        except (ConnectionLost, NoAnswer) as error:
            self._name(error)
            raise

    def send_packed_command(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # as above
        """Send what is packed."""
        untyped: Any = super()
        try:
            untyped.send_packed_command(*args, **options)
        except (ConnectionLost, NoAnswer) as error:
            self._name(error)
            raise

    def read_response(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401  # as above
        """Wait for one reply."""
        untyped: Any = super()
        try:
            return untyped.read_response(*args, **options)
        except (ConnectionLost, NoAnswer) as error:
            self._name(error)
            raise

    def _name(self, error: Exception) -> None:
        it: Any = self
        if not server_in(error):
            host = getattr(it, "host", None) or ""
            host = f"[{host}]" if ":" in host else host
            error.add_note(f"{host}:{it.port}" if host else it.path)


class _Tcp(_Named, redis.Connection):
    """To a host, in plain text."""


class _Tls(_Named, redis.SSLConnection):
    """To a host, encrypted."""


class _Socket(_Named, redis.UnixDomainSocketConnection):
    """To a socket in the file system."""


def server_in(error: Exception) -> str:
    """Return to where the connection led that met with an error; empty if that is not known."""
    return next(iter(getattr(error, "__notes__", ())), "")


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
        address = parse(url)
        options = _connection_options(url, address)
    except ValueError as wrong:
        hint = "compare it with config/kmworker.toml"
        raise SetupError(f"{redacted_url(url)}: {wrong}", hint) from None
    pool = _Pool(
        **options,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        redis_connect_func=on_connect or greet_server,
        command_packer=_Packer(),
    )
    client = Client(connection_pool=pool)
    client.auto_close_connection_pool = True
    return client


def _connection_options(url: str, address: Address) -> dict[str, Any]:
    """Return what the library's connection is to be given for a URL.

    Raises:
        SetupError: an option is none, or a file that it names cannot be used.
        ValueError: what is wrong with the URL.
    """
    if address.scheme not in STREAM_SCHEMES:
        raise ValueError("it is of another kind of server: write redis://, rediss:// or unix://")
    written = checked_options(url, address, "rediss", OPTIONS)
    found: dict[str, Any] = {"connection_class": _Tcp}
    if address.scheme == "rediss":
        found["connection_class"] = _Tls
        # The library would read the files when it connects, and take a misspelt one for an outage.
        found["ssl_min_version"] = client_context(written, "store").minimum_version
    for name, value in written.items():
        try:
            found[name] = OPTIONS.get(name, str)(value)
        except ValueError:
            raise ValueError(f"{name} is no number") from None
    if address.scheme == "unix":
        found |= {"connection_class": _Socket, "path": address.path}
    else:
        found |= {"host": address.host, "port": address.port or PORT}
        if len(address.path) > 1:
            found["db"] = int(address.path[1:])
    named = {"username": address.user, "password": address.password}
    return found | {name: value for name, value in named.items() if value is not None}


def greet_server(connection: Any) -> None:  # noqa: ANN401  # the library's, untyped
    """Log in and choose the database, on a new connection.

    Raises:
        SetupError: the server has no such database.
    """
    try:
        connection.on_connect()
    except ResponseError as error:
        if not any(words in str(error) for words in NO_DATABASE):
            raise
        connection.disconnect()
        raise SetupError(
            f"the server has no database {connection.db}: {error}",
            "name another in the URL, redis://host:6379/0; `databases` says how many there are",
        ) from None
