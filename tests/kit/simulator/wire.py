"""What goes over a simulated connection, and the broker's end of it."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple


class Effect(NamedTuple):
    """Something that can be seen.

    *publishing*: a client is about to write a message; *stored*: it is in a queue;
    *confirmed*: its publisher has read that it is, *refused*: that it is not, or not in all that
    are bound for it. *settling*: a client is about to write an
    acknowledgement; *acknowledged*: the broker has read it.
    """

    kind: Literal["publishing", "stored", "confirmed", "refused", "settling", "acknowledged"]
    exchange: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """A message as a queue holds it."""

    body: bytes
    routing_key: str
    properties: Mapping[str, Any]
    delivery_count: int = 0

    @property
    def headers(self) -> Mapping[str, Any]:
        """Return the headers."""
        return self.properties.get("application_headers") or {}

    def handed_back(self) -> "Message":
        """Return it as it is when its channel has ended."""
        return replace(self, delivery_count=self.delivery_count + 1)

    def delivered_properties(self) -> dict[str, Any]:
        """Return the properties with the broker's own note, if there is one."""
        properties = dict(self.properties)
        if self.delivery_count:
            noted = {**self.headers, "x-delivery-count": self.delivery_count}
            properties["application_headers"] = noted
        return properties


@dataclass(slots=True)
class Queue:
    """Messages that wait for a consumer."""

    name: str
    ready: deque[Message] = field(default_factory=deque)
    limit: int | None = None
    """With so many it is full, and refuses what is published (reject-publish)."""
    delivery_limit: int | None = None
    """What came back more often than that is thrown away."""

    @property
    def is_full(self) -> bool:
        """Return whether it refuses what is published."""
        return self.limit is not None and len(self.ready) >= self.limit


# --- written by the client --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Publish:
    """A message on its way in, persistent and mandatory."""

    channel: int
    exchange: str
    routing_key: str
    body: bytes
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ack:
    """An acknowledgement on its way in."""

    channel: int
    tag: int
    multiple: bool


@dataclass(frozen=True, slots=True)
class Reject:
    """A message on its way back into its queue."""

    channel: int
    tag: int


# --- written by the broker --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Deliver:
    """A message for the consumer."""

    channel: int
    tag: int
    message: Message


@dataclass(frozen=True, slots=True)
class Confirm:
    """The broker has stored what was published, or has refused to."""

    channel: int
    tag: int
    multiple: bool
    stored: bool
    covers: Sequence[int]
    frames: list[Publish] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Returned:
    """No queue is bound for what was published; its confirm is still to come."""

    frame: Publish


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The consumer gets no more."""

    channel: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The channel has been closed over an error."""

    channel: int
    error: Exception


# --- the broker's end -------------------------------------------------------------


class Session:
    """The broker's end of a connection."""

    def __init__(self) -> None:
        self.inbox: deque[Publish | Ack | Reject] = deque()
        """Written by the client, and not read yet."""
        self.outbox: deque[Deliver | Confirm | Returned | Cancelled | Closed] = deque()
        """Written by the broker, and not read yet."""
        self.channels: dict[int, ServerChannel] = {}
        self.is_up = True
        self.is_publishing = False
        self.is_silent = False
        """The broker confirms nothing on it."""
        self.is_held = False
        """The broker hands out nothing on it."""
        self.stalled_at: float | None = None
        """Since when nothing gets through, either way."""
        self._last_channel = 0

    def open_channel(self) -> "ServerChannel":
        """Open a channel."""
        self._last_channel += 1
        channel = ServerChannel(self, self._last_channel)
        self.channels[channel.number] = channel
        return channel


class ServerChannel:
    """The broker's end of a channel."""

    def __init__(self, session: Session, number: int) -> None:
        self.session = session
        self.number = number
        self.queue: Queue | None = None
        self.prefetch = 0
        """Of consumers to come."""
        self.width = 0
        """Of the one that there is."""
        self.handed: set[int] = set()
        """The tags that it was handed: those of one before it do not count against it."""
        self.delivered = 0
        self.unacknowledged: dict[int, Message] = {}
        self.published = 0
        self.unconfirmed: dict[int, tuple[Publish, bool]] = {}

    @property
    def has_credit(self) -> bool:
        """Return whether the prefetch limit lets another message through."""
        at_hand = len(self.handed & self.unacknowledged.keys())
        return not self.session.is_held and at_hand < self.width
