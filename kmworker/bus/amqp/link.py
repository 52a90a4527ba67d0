"""One connection to the broker that fails as a whole, and within a deadline.

py-amqp revives a channel after an error and has calls that wait for ever. Neither is
safe for us: a revived channel has forgotten consumers, confirms and tags. So every
error ends the connection, and the socket itself has a timeout.
"""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, Final

from amqp.exceptions import AMQPError
from kombu.connection import Connection

from kmworker.bus.amqp.brokers import Brokers
from kmworker.bus.amqp.frames import RawDelivery, delivery_frames
from kmworker.bus.amqp.tls import known_as, kombu_options, why_untrusted
from kmworker.bus.amqp.transport import transport_for
from kmworker.errors import BrokerUnavailable, SetupError
from kmworker.settings import BrokerSettings
from kmworker.settings.urls import redacted_url

__all__ = ["BLOCKED", "Connect", "Link", "OnDelivery", "connect_amqp"]

OnDelivery = Callable[[RawDelivery], None]

Connect = Callable[[BrokerSettings, str, OnDelivery | None], Any]
"""Returns an open py-amqp connection under this name, whose deliveries go to that callable."""

MILLISECONDS: Final = 1000
BLOCKED: Final = (
    "the broker takes nothing from publishers: it is short of memory or disk (rabbitmqctl status)"
)

# py-amqp meets a lost connection with AttributeError or TypeError on the None it left.
LOST: Final = (AMQPError, OSError, AttributeError, TypeError)


def connect_amqp(settings: BrokerSettings, name: str, on_delivery: OnDelivery | None) -> Any:
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
        own_frames["frame_handler"] = delivery_frames(on_delivery)
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
    established.known_as = known_as(address)
    return established


class Link:
    """A broker connection, opened on demand.

    Args:
        settings: where the broker is.
        name: shown in the broker's list of connections.
        on_delivery: gets what is delivered, if there is a consumer on it; there may be one.
        connect: what makes the connection.
        brokers: whose turn it is, shared with others; their owner tries again by itself.

    Raises:
        SetupError: no broker is configured, or a file that its URL names cannot be used.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        name: str,
        on_delivery: OnDelivery | None = None,
        connect: Connect = connect_amqp,
        brokers: Brokers | None = None,
    ) -> None:
        if not settings.addresses:
            raise SetupError(
                "no broker is configured",
                hint="set broker.url in kmworker.toml or KMWORKER_BROKER__URL, "
                "e.g. amqp://guest:guest@127.0.0.1//; or have all in one: kmworker up",
            )
        for url in settings.addresses:
            kombu_options(url)
        self._settings = settings
        self._brokers = brokers or Brokers(settings.addresses)
        self._tries = 1 if brokers else len(settings.addresses)
        self.url = self._brokers.current
        self._name = name
        self._on_delivery = on_delivery
        self._connect = connect
        self.connection: Any = None
        self._may_leave = False

    @property
    def is_open(self) -> bool:
        """Return whether nothing has gone wrong yet."""
        return self.connection is not None

    @property
    def user(self) -> str | None:
        """Return as whom it is connected, if that can be known."""
        return getattr(self.connection, "known_as", None)

    @property
    def is_blocked(self) -> bool:
        """Return whether the broker has told us that it takes nothing that is published."""
        return getattr(self.connection, "is_blocked", False)

    def open(self) -> None:
        """Connect to the broker whose turn it is; where nobody tries again, to any of them.

        Raises:
            BrokerUnavailable: it is not there, or refuses us.
        """
        failed: list[BrokerUnavailable] = []
        while not self.is_open:
            try:
                self._open_one()
            except BrokerUnavailable as error:
                failed.append(error)
                if len(failed) == self._tries:
                    raise _all_of(failed) from error.__cause__

    def _open_one(self) -> None:
        self.url = self._brokers.current
        self._may_leave = True
        with self.errors():
            settings = self._settings.at(self.url)
            self.connection = self._connect(settings, self._name, self._on_delivery)

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
        """Drop the connection without a word: nothing on it can be trusted any more.

        The next one is made to the next broker.
        """
        connection, self.connection = self.connection, None
        if self._may_leave:
            self._may_leave = False
            self._brokers.leave(self.url)
        if connection is not None:
            with suppress(*LOST):
                connection.collect()

    def close(self) -> None:
        """Say goodbye, and leave if the broker does not answer soon."""
        self._may_leave = False
        if self.is_open:
            with suppress(*LOST):
                self.connection.transport.sock.settimeout(1.0)
                self.connection.close()
        self.discard()

    @contextmanager
    def errors(self, but: type[AMQPError] | tuple[()] = ()) -> Iterator[None]:
        """Turn whatever happens to the connection into its end, but for what is expected."""
        try:
            yield
        except but:
            raise
        except LOST as error:
            raise self._lost(error) from error

    @contextmanager
    def call(self, but: type[AMQPError] | tuple[()] = ()) -> Iterator[None]:
        """Like `errors`, around what waits for an answer: it must come in time.

        py-amqp waits for as long as anything comes, and heartbeats come from a broker whose
        queue does not answer, too.
        """
        with self.errors(but):
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
        said = BLOCKED if self.is_blocked else _said(error)
        self.discard()
        return BrokerUnavailable(f"{redacted_url(self.url)}: {said}")


def _all_of(failed: Sequence[BrokerUnavailable]) -> BrokerUnavailable:
    """Return what to raise where each broker was tried."""
    return failed[0] if len(failed) == 1 else BrokerUnavailable("; ".join(map(str, failed)))


def _said(error: BaseException) -> str:
    # What belongs to no method of the protocol, as a login does, the library calls (0, 0).
    said = str(error).removeprefix("(0, 0): ")
    return why_untrusted(error) or said or type(error).__name__
