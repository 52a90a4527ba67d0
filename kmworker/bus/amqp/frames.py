"""Deliveries straight from their frames (AMQP 0-9-1, sections 2.3.5 and 4.2).

py-amqp decodes routing keys and headers as UTF-8 and raises out of its dispatch where
they are not. The connection is then lost, the message comes again, and one producer
has stopped all workers. So deliveries are read here, and nothing in them can raise.

A body beyond the size of any event is not held: it is counted and digested as it comes, or a
few large ones would take all memory.
"""

from collections.abc import Callable
from hashlib import sha256
from struct import unpack_from
from typing import Any, Final, NamedTuple

from amqp.method_framing import frame_handler
from amqp.spec import Basic

from kmworker.bus.amqp.framing import BODY, HEADER, METHOD
from kmworker.bus.amqp.header_frame import counted, read_properties
from kmworker.domain.message import MAX_BODY_BYTES, Digest

__all__ = ["RawDelivery", "delivery_frames"]

DELIVER: Final = unpack_from(">I", bytes([0, Basic.Deliver[0], 0, Basic.Deliver[1]]))[0]

FrameHandler = Callable[[tuple[int, int, Any]], bool]


class RawDelivery(NamedTuple):
    """A delivery with its properties decoded as far as they can be."""

    tag: int
    redelivered: bool
    routing_key: str
    properties: dict[str, Any]
    body: bytes
    dropped: Digest | None = None
    """Of a body that is too large to be held."""
    delivery_count: int = 0
    """How often it was handed out before, as far as the broker has counted."""


class _Partial:
    """A delivery whose content is still to come."""

    def __init__(self, channel: int, arguments: bytes) -> None:
        self.channel = channel
        at = 4 + 1 + arguments[4]  # past the method's id and the consumer tag
        self.tag, flags = unpack_from(">QB", arguments, at)
        self.redelivered = bool(flags & 1)
        at += 9
        at += 1 + arguments[at]  # past the exchange
        length = arguments[at]
        # Undecodable bytes become marks, so the key differs from every event's type.
        self.routing_key = arguments[at + 1 : at + 1 + length].decode(errors="replace")
        self.properties: dict[str, Any] = {}
        self.delivery_count = 0
        self.size = self.missing = 0
        self.chunks: list[bytes] = []
        self.digest: Any = None
        """Of a body that is too large to be held; made where there is one."""

    def header(self, payload: bytes) -> None:
        (self.size,) = unpack_from(">Q", payload, 4)
        self.missing = self.size
        if self.size > MAX_BODY_BYTES:
            self.digest = sha256()
        self.properties = read_properties(payload)
        if self.redelivered:
            # Only then it is the broker's word; before, a producer may have set it.
            self.delivery_count = max(counted(payload), 1)

    def content(self, payload: bytes) -> None:
        if self.digest is None:
            self.chunks.append(payload)
        else:
            self.digest.update(payload)
        self.missing -= len(payload)

    def complete(self) -> RawDelivery:
        body = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        dropped = None if self.digest is None else Digest(self.digest.hexdigest(), self.size)
        return RawDelivery(
            self.tag, self.redelivered, self.routing_key, self.properties, bytes(body), dropped,
            self.delivery_count,
        )  # fmt: skip


def delivery_frames(on_delivery: Callable[[RawDelivery], None]) -> Callable[..., FrameHandler]:
    """Return a py-amqp frame handler that hands deliveries to ``on_delivery``.

    Everything else goes to py-amqp's own. Only for a connection that consumes on one channel.

    Args:
        on_delivery: called with each, when it is complete.
    """

    def make(connection: Any, callback: Any, **options: Any) -> FrameHandler:
        others: FrameHandler = frame_handler(connection, callback, **options)
        partial: _Partial | None = None

        def on_frame(frame: tuple[int, int, Any]) -> bool:
            nonlocal partial
            kind, channel, payload = frame
            if kind == METHOD and unpack_from(">I", payload)[0] == DELIVER:
                partial = _Partial(channel, bytes(payload))
            elif partial is None or channel != partial.channel or kind not in {HEADER, BODY}:
                return others(frame)
            elif kind == HEADER:
                partial.header(bytes(payload))
            else:
                partial.content(bytes(payload))
            # What py-amqp counts to know that the broker is alive.
            connection.bytes_recv += 1
            if kind == METHOD or partial.missing:
                return False
            done, partial = partial, None
            on_delivery(done.complete())
            return True

        return on_frame

    return make
