"""Publish many, and wait for all their confirms together, now or later.

Confirms are matched by tag. What py-amqp offers waits for any confirm after each
message, and after a timeout takes the late one for the next message's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from time import monotonic
from typing import Any

from amqp import Message, spec

from kmworker.bus.link import Link
from kmworker.errors import BrokerUnavailable
from kmworker.message import Outgoing

__all__ = ["Publisher", "Sent"]

HEARTBEAT_CHECK_S = 1.0


@dataclass(slots=True, eq=False)
class Sent:
    """Messages on their way, and what the broker has said of them."""

    messages: Sequence[Outgoing]
    deadline: float
    """Monotonic seconds, for all their confirms."""
    routed: list[bool] = field(init=False)
    unconfirmed: int = 0
    nacked: int = 0
    is_lost: bool = False
    """Their connection is gone: no confirm can come any more."""

    def __post_init__(self) -> None:
        self.routed = [True] * len(self.messages)


class Publisher:
    """Confirmed, mandatory, persistent publishing on a connection of its own."""

    def __init__(
        self,
        link: Link,
        confirm_timeout_s: float,
        monotonic: Callable[[], float] = monotonic,
    ) -> None:
        self._link = link
        self._confirm_timeout_s = confirm_timeout_s
        self._monotonic = monotonic
        self._channel: Any = None
        self._sequence = 0
        self._unconfirmed: dict[int, tuple[Sent, int]] = {}
        """Of each tag without a confirm: what was sent with it, and which message it is."""

    @property
    def is_open(self) -> bool:
        """Say whether it can publish."""
        return self._link.is_open

    def open(self) -> None:
        """Connect if need be."""
        if self._link.is_open:
            return
        self._link.open()
        with self._link.call():
            channel = self._link.connection.channel()
            channel.confirm_select()
            channel.events["basic_ack"].add(self._on_ack)
            channel.events["basic_nack"].add(self._on_nack)
            channel.events["basic_return"].add(self._on_return)
        self._channel = channel
        self._sequence = 0
        self._forget()

    @property
    def connection(self) -> Any:
        """Return the connection, if there is one."""
        return self._link.connection

    @property
    def is_awaiting(self) -> bool:
        """Say whether confirms are still to come."""
        return bool(self._unconfirmed)

    def publish(
        self, messages: Sequence[Outgoing], while_waiting: Callable[[], None] = lambda: None
    ) -> list[bool]:
        """Publish all and wait for every confirm: `send` and `confirmed` in one."""
        return self.confirmed(self.send(messages), while_waiting)

    def send(self, messages: Sequence[Outgoing]) -> Sent:
        """Publish all, and wait for nothing.

        Raises:
            BrokerUnavailable: some may not have been published; the connection is gone.
        """
        contents = [_content(message) for message in messages]
        sent = Sent(messages, self._monotonic() + self._confirm_timeout_s)
        try:
            with self._link.errors(), self._link.connection.corked():
                for index, content in enumerate(contents):
                    self._send(sent, index, content)
        except BaseException:
            # What was sent of it, and what its confirms would be for, nobody can say.
            self._lose()
            raise
        return sent

    def confirmed(self, sent: Sent, while_waiting: Callable[[], None] = lambda: None) -> list[bool]:
        """Wait until the broker has confirmed all of them.

        Args:
            sent: by `send`.
            while_waiting: called about once a second, to keep other connections alive.

        Returns:
            For each message, whether a queue was bound for it.

        Raises:
            BrokerUnavailable: some were not confirmed; the connection is gone.
        """
        try:
            self._await_confirms(sent, while_waiting)
        except BaseException:
            # Confirms that are still to come must not be taken for others'.
            self._lose()
            raise
        return sent.routed

    def is_over(self, sent: Sent) -> bool:
        """Look whether `confirmed` would wait for nothing."""
        if sent.unconfirmed and not sent.is_lost:
            self.take_in()
        return not sent.unconfirmed or sent.is_lost or self._monotonic() >= sent.deadline

    def take_in(self) -> None:
        """Take the confirms that have come, and wait for none."""
        self._link.drain(0)

    def tick(self) -> None:
        """Keep the idle connection alive and notice its end."""
        if self._link.is_open:
            self._link.tick()
            self.take_in()

    def close(self) -> None:
        """Leave."""
        self._link.close()

    def abandon(self) -> None:
        """Leave without a word, in the middle of whatever it was."""
        self._link.discard()

    def _send(self, sent: Sent, index: int, content: Outgoing | Message) -> None:
        message = sent.messages[index]
        self._sequence += 1
        self._unconfirmed[self._sequence] = sent, index
        sent.unconfirmed += 1
        # Not basic_publish: it reads from the socket before each message.
        self._channel.send_method(
            spec.Basic.Publish,
            "Bssbb",
            (0, message.exchange, message.routing_key, True, False),
            content,
        )

    def _await_confirms(self, sent: Sent, while_waiting: Callable[[], None]) -> None:
        check_at = self._monotonic() + HEARTBEAT_CHECK_S
        while not self.is_over(sent):
            now = self._monotonic()
            if now >= check_at:
                check_at = now + HEARTBEAT_CHECK_S
                while_waiting()
                self._link.tick()
            self._link.drain(max(min(sent.deadline, check_at) - now, 0.0))
        if sent.unconfirmed and not sent.is_lost:
            raise BrokerUnavailable(
                f"{sent.unconfirmed} messages were not confirmed"
                f" within {self._confirm_timeout_s:g} s"
            )
        if sent.is_lost:
            raise BrokerUnavailable("the connection was lost before all confirms had come")
        if sent.nacked:
            raise BrokerUnavailable(f"the broker refused to store {sent.nacked} messages")

    def _lose(self) -> None:
        """Drop the connection, and with it every confirm that is still to come."""
        self._link.discard()
        self._forget()

    def _forget(self) -> None:
        for sent, _index in self._unconfirmed.values():
            sent.is_lost = True
        self._unconfirmed.clear()

    def _on_ack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001  # py-amqp's call
        self._confirmed(tag, multiple=multiple)

    def _on_nack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001  # py-amqp's call
        for sent in self._confirmed(tag, multiple=multiple):
            sent.nacked += 1

    def _confirmed(self, tag: int, *, multiple: bool) -> list[Sent]:
        """Take confirms off the list; return what each was sent with."""
        tags = [tag] if tag in self._unconfirmed else []
        if multiple:
            # They were sent in order, so they stand in order.
            tags = list(takewhile(lambda it: it <= tag, self._unconfirmed))
        found = [self._unconfirmed.pop(it)[0] for it in tags]
        for sent in found:
            sent.unconfirmed -= 1
        return found

    def _on_return(self, _error: object, exchange: str, key: str, message: Any) -> None:
        """Note an unrouted message; its confirm is still to come, so it is unconfirmed."""
        message_id = message.properties.get("message_id")
        for sent, index in self._unconfirmed.values():
            it = sent.messages[index]
            if sent.routed[index] and (
                (it.exchange, it.routing_key, it.properties.get("message_id"))
                == (exchange, key, message_id)
            ):
                sent.routed[index] = False
                return


def _content(message: Outgoing) -> Outgoing | Message:
    if "application_headers" not in message.properties:
        return message
    content = Message(message.body, **message.properties)
    # What cannot be encoded shows here, and is not taken for a lost connection.
    content._serialize_properties()  # noqa: SLF001
    return content
