"""Publish many, then wait for all their confirms together.

Confirms are matched by tag. What py-amqp offers waits for any confirm after each
message, and after a timeout takes the late one for the next message's.
"""

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from amqp import Message, spec

from kmworker.bus.link import Link
from kmworker.errors import BrokerUnavailable
from kmworker.message import Outgoing

__all__ = ["Publisher"]

HEARTBEAT_CHECK_S = 1.0


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
        self._unconfirmed: dict[int, int] = {}
        self._messages: Sequence[Outgoing] = ()
        self._routed: list[bool] = []
        self._nacked = 0

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
        self._unconfirmed.clear()

    def publish(
        self, messages: Sequence[Outgoing], while_waiting: Callable[[], None] = lambda: None
    ) -> list[bool]:
        """Publish all and wait for every confirm.

        Args:
            messages: what to publish.
            while_waiting: called about once a second, to keep other connections alive.

        Returns:
            For each message, whether a queue was bound for it.

        Raises:
            BrokerUnavailable: some were not confirmed; the connection is gone.
        """
        contents = [_content(message) for message in messages]
        self._messages = messages
        self._routed = [True] * len(messages)
        self._nacked = 0
        try:
            with self._link.errors(), self._link.connection.corked():
                for index, content in enumerate(contents):
                    self._send(index, content)
            self._await_confirms(while_waiting)
        except BaseException:
            # Confirms that are still to come must not be taken for the next call's.
            self._link.discard()
            raise
        return self._routed

    def tick(self) -> None:
        """Keep the idle connection alive and notice its end."""
        if self._link.is_open:
            self._link.tick()
            self._link.drain(0)

    def close(self) -> None:
        """Leave."""
        self._link.close()

    def abandon(self) -> None:
        """Leave without a word, in the middle of whatever it was."""
        self._link.discard()

    def _send(self, index: int, content: Message) -> None:
        message = self._messages[index]
        self._sequence += 1
        self._unconfirmed[self._sequence] = index
        # Not basic_publish: it reads from the socket before each message.
        self._channel.send_method(
            spec.Basic.Publish,
            "Bssbb",
            (0, message.exchange, message.routing_key, True, False),
            content,
        )

    def _await_confirms(self, while_waiting: Callable[[], None]) -> None:
        deadline = self._monotonic() + self._confirm_timeout_s
        while self._unconfirmed:
            remaining = deadline - self._monotonic()
            if remaining <= 0:
                self._link.discard()
                raise BrokerUnavailable(
                    f"{len(self._unconfirmed)} messages were not confirmed"
                    f" within {self._confirm_timeout_s:g} s"
                )
            if not self._link.drain(min(remaining, HEARTBEAT_CHECK_S)):
                while_waiting()
                self._link.tick()
        if self._nacked:
            self._link.discard()
            raise BrokerUnavailable(f"the broker refused to store {self._nacked} messages")

    def _on_ack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001  # py-amqp's call
        self._confirmed(tag, multiple=multiple)

    def _on_nack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001  # py-amqp's call
        self._nacked += self._confirmed(tag, multiple=multiple)

    def _confirmed(self, tag: int, *, multiple: bool) -> int:
        if not multiple:
            return 0 if self._unconfirmed.pop(tag, None) is None else 1
        tags = [sent for sent in self._unconfirmed if sent <= tag]
        for sent in tags:
            del self._unconfirmed[sent]
        return len(tags)

    def _on_return(self, _error: object, exchange: str, key: str, message: Any) -> None:
        """Note an unrouted message; its confirm is still to come, so it is unconfirmed."""
        message_id = message.properties.get("message_id")
        for index in self._unconfirmed.values():
            sent = self._messages[index]
            if self._routed[index] and (
                (sent.exchange, sent.routing_key, sent.properties.get("message_id"))
                == (exchange, key, message_id)
            ):
                self._routed[index] = False
                return


def _content(message: Outgoing) -> Message:
    content = Message(message.body, **message.properties)
    if "application_headers" in message.properties:
        # What cannot be encoded shows here, and is not taken for a lost connection.
        content._serialize_properties()  # noqa: SLF001
    return content
