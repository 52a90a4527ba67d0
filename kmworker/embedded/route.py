"""A topic exchange in Redis: bindings in a set, queues as streams."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import Any, Final

from redis.exceptions import NoScriptError, RedisError

from kmworker.domain.message import MAX_BODY_BYTES, Digest, Original, Outgoing
from kmworker.errors import BrokerUnavailable
from kmworker.store.client import Client
from kmworker.wire.properties import pack, unpack
from kmworker.wire.topology import EVERYTHING, Topology

__all__ = ["OpenStream", "Router", "read_any_entry", "read_entry", "stream_errors"]

FOREVER: Final = "forever"


@contextmanager
def stream_errors() -> Iterator[None]:
    """Turn the client library's errors into the port's."""
    try:
        yield
    except RedisError as error:
        raise BrokerUnavailable(f"the embedded broker: {error}") from error


class OpenStream:
    """What is to be opened again after an error: its stream may be gone with the server."""

    _is_open = False

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with stream_errors():
                yield
        except BrokerUnavailable:
            self._is_open = False
            raise


class Router:
    """Publishes to exchanges, and binds queues to them."""

    def __init__(self, client: Client) -> None:
        self._client: Any = client  # its types leave open whether replies are bytes
        self._script = resources.files("kmworker.embedded").joinpath("route.lua").read_bytes()
        # Redis names a script by this digest; nothing secret rests on it.
        self._digest = hashlib.sha1(self._script, usedforsecurity=False).hexdigest()

    def open(self) -> None:
        """Do nothing: the client connects with its first command."""

    def declare(self, topology: Topology) -> None:
        """Bind the durable queues, as the contract has them."""
        self.bind(topology.events, EVERYTHING, topology.work, alive_s=None)
        self.bind(topology.dead, EVERYTHING, topology.dead, alive_s=None)

    def bind(self, exchange: str, pattern: str, queue: str, alive_s: float | None) -> None:
        """Bind a queue; one with ``alive_s`` goes when it is not renewed for so long."""
        with stream_errors():
            pipeline = self._client.pipeline(transaction=True)
            life = None if alive_s is None else int(alive_s * 1000)
            pipeline.set(f"{queue}:alive", FOREVER if life is None else "1", px=life)
            pipeline.sadd(_bindings(exchange), f"{pattern} {queue}")
            pipeline.execute()

    def renew(self, queue: str, alive_s: float) -> None:
        """Keep a queue that is not durable."""
        with stream_errors():
            self._client.pexpire(f"{queue}:alive", int(alive_s * 1000))

    def unbind(self, exchange: str, pattern: str, queue: str) -> None:
        """Drop a queue and its binding."""
        with stream_errors():
            self._client.srem(_bindings(exchange), f"{pattern} {queue}")
            self._client.delete(queue, f"{queue}:alive")

    def has_queue(self, queue: str) -> bool:
        """Return whether a queue is bound, be it empty."""
        with stream_errors():
            return bool(self._client.exists(f"{queue}:alive"))

    def close(self) -> None:
        """Leave."""
        self._client.close()

    def publish(self, messages: Sequence[Outgoing]) -> list[bool]:
        """Publish all, in order; say of each whether any queue took it.

        The server has them on disk when it replies.

        Raises:
            BrokerUnavailable: some may not have been published.
        """
        routed: list[bool] = []
        with stream_errors():
            for exchange, run in _runs(messages):
                argv: list[Any] = []
                for message in run:
                    argv += [message.routing_key, message.body, pack(message.properties)]
                routed += [bool(queues) for queues in self._call(_bindings(exchange), argv)]
        return routed

    def _call(self, key: str, argv: Sequence[Any]) -> list[int]:
        try:
            replies: list[int] = self._client.evalsha(self._digest, 1, key, *argv)
        except NoScriptError:
            replies = self._client.eval(self._script, 1, key, *argv)
        return replies


def read_entry(fields: dict[bytes, bytes]) -> Original:
    """Return the message that a stream entry carries."""
    body, key = fields[b"body"], fields[b"key"].decode()
    properties = unpack(fields[b"properties"].decode())
    if len(body) > MAX_BODY_BYTES:
        # Somebody's who writes to the stream by hand; it is here by now, and is not held.
        return Original(b"", key, properties, Digest(hashlib.sha256(body).hexdigest(), len(body)))
    return Original(body, key, properties)


def read_any_entry(fields: dict[bytes, bytes]) -> Original:
    """Return the message that a stream entry carries; of somebody else's entry, its body."""
    try:
        return read_entry(fields)
    except (KeyError, ValueError):
        return Original(fields.get(b"body", b""), "", {})


def _bindings(exchange: str) -> str:
    return f"{exchange}:bindings"


def _runs(messages: Sequence[Outgoing]) -> Iterator[tuple[str, list[Outgoing]]]:
    """Group neighbours that go to one exchange."""
    run: list[Outgoing] = []
    for message in messages:
        if run and run[0].exchange != message.exchange:
            yield run[0].exchange, run
            run = []
        run.append(message)
    if run:
        yield run[0].exchange, run
