"""py-amqp with fewer system calls: reads in large gulps, writes a batch at once.

py-amqp asks the kernel nine times for each delivery and once or more for each message it
publishes, which costs more than all else that happens to an event. Here frames are cut
from a buffer that is filled by one read of whatever is there, and frames written between
`corked` and its end leave in one write. All else (handshake, heartbeats, channels, errors) is
py-amqp's own; of TLS, what is checked is in tls.py.
"""

import select
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ssl import SSLContext, SSLSocket, SSLWantReadError
from typing import Any, Final

import amqp.connection
import amqp.transport
from amqp.basic_message import Message
from amqp.exceptions import UnexpectedFrame
from amqp.spec import Basic
from kombu.transport import pyamqp

from kmworker.bus.amqp.framing import FRAME_END, FRAME_HEAD
from kmworker.bus.amqp.publishing import ack_frame, publish_frames

__all__ = ["BufferedConnection", "transport_for", "wait_for_any"]

# More than a socket's buffer holds by default, so that one read empties it.
GULP_BYTES: Final = 262_144
# What is corked leaves at the latest when it is as much as this: memory must not follow it.
CORKED_MOST_BYTES: Final = 1_048_576
# Nothing has come within the socket's timeout: no loss.
NOT_YET: Final = (TimeoutError, BlockingIOError, SSLWantReadError)
MILLISECONDS: Final = 1000
# What a frame has beside its payload, with some to spare.
ONE_FRAME_BYTES: Final = 64

Frame = tuple[int, int, bytes]


class _Buffered:
    """What both transports have in common; stands before py-amqp's in the order of bases."""

    connected: bool
    sock: Any
    _quick_recv: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._incoming = b""
        self._at = 0
        self._outgoing = bytearray()
        self._is_corked = False

    def next_frame(self) -> Frame | None:
        """Return a frame that has arrived as a whole; never asks the kernel.

        Raises:
            UnexpectedFrame: what has arrived is no frame.
        """
        incoming, at = self._incoming, self._at
        body_at = at + FRAME_HEAD.size
        if len(incoming) < body_at:
            return None
        kind, channel, size = FRAME_HEAD.unpack_from(incoming, at)
        end = body_at + size
        if len(incoming) <= end:
            return None
        if incoming[end] != FRAME_END:
            raise UnexpectedFrame(f"a frame ends with {incoming[end]:#04x}, not 0xce")
        self._at = end + 1
        return kind, channel, incoming[body_at:end]

    @property
    def has_frame(self) -> bool:
        """Return whether a frame has arrived as a whole."""
        left = len(self._incoming) - self._at
        if left < FRAME_HEAD.size:
            return False
        size: int = FRAME_HEAD.unpack_from(self._incoming, self._at)[2]
        return left > FRAME_HEAD.size + size

    def read_frame(self, *_unpack: Any) -> Frame:
        """Return the next frame, waiting for it as long as the socket's timeout allows.

        Raises:
            TimeoutError: it did not arrive; what has arrived of it is kept.
            OSError: the connection is gone.
        """
        while (frame := self.next_frame()) is None:
            self._gulp()
        return frame

    def read_frame_within(self, timeout: float | None) -> Frame:
        """Do the same with another timeout, in seconds; None: the socket's own."""
        if timeout is None:
            return self.read_frame()
        sock = self.sock
        before = sock.gettimeout()
        sock.settimeout(timeout)
        try:
            return self.read_frame()
        except (BlockingIOError, SSLWantReadError):
            raise TimeoutError from None
        finally:
            sock.settimeout(before)

    def _gulp(self) -> None:
        try:
            chunk = self._quick_recv(GULP_BYTES)
            if not chunk:
                raise ConnectionResetError("the broker closed the connection")
        except NOT_YET:
            raise
        except OSError:
            self.connected = False
            raise
        self._incoming = self._incoming[self._at :] + chunk
        self._at = 0

    def write(self, data: bytes) -> None:
        """Send, now or with all that is corked."""
        self._outgoing += data
        if not self._is_corked or len(self._outgoing) > CORKED_MOST_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send what is corked. After an error, how much of it was sent is unknown."""
        outgoing, self._outgoing = self._outgoing, bytearray()
        if outgoing:
            base: Any = super()
            base.write(outgoing)

    @contextmanager
    def corked(self) -> Iterator[None]:
        """Send what is written meanwhile together at the end; nothing of it after an error."""
        self._is_corked = True
        try:
            yield
        except BaseException:
            # Ctrl-C, too: half of it would be taken for all.
            self._outgoing.clear()
            raise
        finally:
            self._is_corked = False
        self.flush()


class _TCP(_Buffered, amqp.transport.TCPTransport):  # type: ignore[misc]  # untyped
    """Without TLS."""


class _TLS(_Buffered, amqp.transport.SSLTransport):  # type: ignore[misc]  # untyped
    """With TLS: a read gives what was one record, at most 16 KiB, and leaves none of it behind."""

    def _wrap_socket(self, sock: Any, *, context: SSLContext, server_hostname: str) -> SSLSocket:
        # Without these two there is no connection at all, rather than one that checks less.
        # Hands are shaken by py-amqp, when it has set a timeout.
        return context.wrap_socket(
            sock, server_hostname=server_hostname, do_handshake_on_connect=False
        )

    def _shutdown_transport(self) -> None:
        # py-amqp waits for the peer's farewell, and a dead one has none to say.
        if self.sock is not None:
            self.sock.settimeout(0)
        super()._shutdown_transport()


class _Channel(pyamqp.Channel):
    """A channel that writes the frames of a plain publication itself, and acknowledgements."""

    def basic_ack(
        self,
        delivery_tag: int,
        multiple: bool = False,  # noqa: FBT001, FBT002  # as py-amqp declares it
        argsig: str = "Lb",  # noqa: ARG002
    ) -> None:
        """Acknowledge a delivery, or all up to it."""
        self.connection.transport.write(ack_frame(self.channel_id, delivery_tag, multiple=multiple))
        self.connection.bytes_sent += 1

    def send_method(
        self,
        sig: Any,
        format: Any = None,  # noqa: A002  # as py-amqp calls it
        args: Any = None,
        content: Any = None,
        **rest: Any,
    ) -> Any:
        """Send a method, and what belongs to it: anything with a body and properties."""
        if content is not None and sig == Basic.Publish:
            connection = self.connection
            body, properties = content.body, content.properties
            if isinstance(body, bytes) and len(body) + ONE_FRAME_BYTES < connection.frame_max:
                frames = publish_frames(self.channel_id, args, properties, body)
                if frames is not None:
                    connection.transport.write(frames)
                    # What py-amqp counts to know that no heartbeat is due.
                    connection.bytes_sent += 1
                    return None
            if not isinstance(content, Message):
                content = Message(body, **properties)
        return super().send_method(sig, format, args, content, **rest)


class BufferedConnection(pyamqp.Connection):
    """A py-amqp connection over a buffered transport."""

    Channel = _Channel

    is_blocked = False
    """Whether the broker has said that it reads nothing more of what is published."""

    def _on_blocked(self) -> None:
        self.is_blocked = True

    def _on_unblocked(self) -> None:
        self.is_blocked = False

    def Transport(  # noqa: N802  # as py-amqp calls it
        self,
        host: str,
        connect_timeout: float | None,
        ssl: Any = False,  # noqa: FBT002
        read_timeout: float | None = None,
        write_timeout: float | None = None,
        **options: Any,
    ) -> Any:
        """Return the transport that fits."""
        kind = _TLS if ssl else _TCP
        return kind(
            host,
            connect_timeout=connect_timeout,
            ssl=ssl,
            read_timeout=read_timeout,
            write_timeout=write_timeout,
            **options,
        )

    def connect(self, callback: Any = None) -> Any:
        """Connect; after an error, nothing is left open."""
        try:
            return super().connect(callback)
        except BaseException:
            # py-amqp does this too, but not where the broker has refused the user.
            self.collect()
            raise

    def blocking_read(self, timeout: float | None = None) -> Any:
        """Handle the next frame; asks the kernel only if none has arrived."""
        frame = self.transport.next_frame() or self.transport.read_frame_within(timeout)
        return self.on_inbound_frame(frame)

    @contextmanager
    def corked(self) -> Iterator[None]:
        """Send what is written meanwhile in as few writes as can be."""
        with self.transport.corked():
            yield

    def drain_arrived(self, timeout: float) -> None:
        """Handle every frame that has arrived, waiting at most ``timeout`` s for the first.

        Raises:
            TimeoutError: none has.
        """
        transport = self.transport
        self.blocking_read(timeout)
        while (frame := transport.next_frame()) is not None:
            self.on_inbound_frame(frame)


class _Transport(pyamqp.Transport):
    Connection = BufferedConnection


class _TLSTransport(pyamqp.SSLTransport):
    Connection = BufferedConnection


def transport_for(url: str) -> type:
    """Return the kombu transport for a broker's URL."""
    return _TLSTransport if url.startswith("amqps:") else _Transport


def wait_for_any(connections: Sequence[BufferedConnection], timeout_s: float) -> None:
    """Wait until there is something to handle on one of the connections, or time is up."""
    transports = [connection.transport for connection in connections]
    if any(transport.has_frame for transport in transports):
        return
    sockets = [transport.sock for transport in transports]
    # eventlet, under which clients run, takes it away, and lets select be.
    if (poll := getattr(select, "poll", None)) is None:
        select.select(sockets, (), (), timeout_s)
        return
    readable = poll()
    for it in sockets:
        readable.register(it, select.POLLIN)
    readable.poll(timeout_s * MILLISECONDS)
