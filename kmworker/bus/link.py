"""One connection to the broker that fails as a whole, and within a deadline.

py-amqp revives a channel after an error and has calls that wait for ever. Neither is
safe for us: a revived channel has forgotten consumers, confirms and tags. So every
error ends the connection, and the socket itself has a timeout.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, Final

from amqp.exceptions import AMQPError
from kombu.connection import Connection

from kmworker.bus.frames import FRAME_SHARE, RawDelivery, delivery_frames
from kmworker.bus.tls import kombu_options, why_untrusted
from kmworker.bus.transport import transport_for
from kmworker.errors import BrokerUnavailable, SetupError
from kmworker.settings import BrokerSettings, redacted_url

__all__ = ["Connect", "Link", "OnDelivery", "connect_amqp"]

OnDelivery = Callable[[RawDelivery], None]

Connect = Callable[[BrokerSettings, str, OnDelivery | None], Any]
"""Returns an open py-amqp connection under this name, whose deliveries go to that callable."""

MILLISECONDS: Final = 1000

# py-amqp meets a lost connection with AttributeError or TypeError on the None it left.
LOST: Final = (AMQPError, OSError, AttributeError, TypeError)


def connect_amqp(
    settings: BrokerSettings,
    name: str,
    on_delivery: OnDelivery | None,
    frame_share: int = FRAME_SHARE,
) -> Any:
    """Connect to the broker of ``settings.url``.

    Raises:
        BrokerUnavailable: a file for TLS is gone, or half replaced.
        Exception: whatever py-amqp raises.
    """
    url = str(settings.url)
    try:
        address = kombu_options(url)
    except SetupError as gone:
        # It was there when the link was made, so waiting for it is no vain hope.
        raise BrokerUnavailable(f"{redacted_url(url)}: {gone}") from gone
    own_frames = {}
    if on_delivery is not None:
        own_frames["frame_handler"] = delivery_frames(on_delivery, frame_share)
    connection = Connection(
        **address,
        heartbeat=settings.heartbeat_s,
        connect_timeout=settings.connect_timeout_s,
        transport=transport_for(url),
        transport_options={
            # Unsent bytes may wait as long as a heartbeat may; the default is 1 s.
            "socket_settings": {socket.TCP_USER_TIMEOUT: 2 * settings.heartbeat_s * MILLISECONDS},
            "client_properties": {"connection_name": name},
            **own_frames,
        },
    )
    established = connection.transport.establish_connection()
    established.transport.sock.settimeout(settings.confirm_timeout_s)
    return established


class Link:
    """A broker connection, opened on demand.

    Args:
        settings: where the broker is.
        name: shown in the broker's list of connections.
        on_delivery: gets what is delivered, if there is a consumer on it; there may be one.
        connect: what makes the connection.

    Raises:
        SetupError: no broker is configured, or a file that its URL names cannot be used.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        name: str,
        on_delivery: OnDelivery | None = None,
        connect: Connect = connect_amqp,
    ) -> None:
        if settings.url is None:
            raise SetupError(
                "no broker is configured",
                hint="set broker.url in kmworker.toml or KMWORKER_BROKER__URL, "
                "e.g. amqp://guest:guest@127.0.0.1//",
            )
        kombu_options(settings.url)
        self._settings = settings
        self._url = settings.url
        self._name = name
        self._on_delivery = on_delivery
        self._connect = connect
        self.connection: Any = None

    @property
    def is_open(self) -> bool:
        """Say whether nothing has gone wrong yet."""
        return self.connection is not None

    def open(self) -> None:
        """Connect.

        Raises:
            BrokerUnavailable: it is not there, or refuses us.
        """
        with self.errors():
            self.connection = self._connect(self._settings, self._name, self._on_delivery)

    def tick(self) -> None:
        """Send a heartbeat if one is due, and notice their absence."""
        if self.is_open:
            with self.errors():
                self.connection.heartbeat_tick()

    def drain(self, timeout_s: float) -> bool:
        """Handle what has come, waiting at most ``timeout_s`` for it; say whether anything had."""
        try:
            self.connection.drain_arrived(timeout_s)
        except TimeoutError:
            return False
        except LOST as error:
            raise self._lost(error) from error
        return True

    def discard(self) -> None:
        """Drop the connection without a word: nothing on it can be trusted any more."""
        connection, self.connection = self.connection, None
        if connection is not None:
            with suppress(*LOST):
                connection.collect()

    def close(self) -> None:
        """Say goodbye, and leave if the broker does not answer soon."""
        if self.is_open:
            with suppress(*LOST):
                self.connection.transport.sock.settimeout(1.0)
                self.connection.close()
        self.discard()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn whatever happens to the connection into its end."""
        try:
            yield
        except LOST as error:
            raise self._lost(error) from error

    @contextmanager
    def call(self) -> Iterator[None]:
        """Like `errors`, around what waits for an answer: it must come in time.

        py-amqp waits for as long as anything comes, and heartbeats come from a broker whose
        queue does not answer, too.
        """
        with self.errors():
            connection, handle = self.connection, self.connection.on_inbound_frame
            deadline = monotonic() + self._settings.confirm_timeout_s

            def in_time(frame: Any) -> Any:
                if monotonic() > deadline:
                    raise TimeoutError(f"no answer within {self._settings.confirm_timeout_s:g} s")
                return handle(frame)

            connection.on_inbound_frame = in_time
            try:
                yield
            finally:
                connection.on_inbound_frame = handle

    def _lost(self, error: BaseException) -> BrokerUnavailable:
        self.discard()
        return BrokerUnavailable(f"{redacted_url(self._url)}: {_said(error)}")


def _said(error: BaseException) -> str:
    return why_untrusted(error) or str(error) or type(error).__name__
