"""Publish many, and wait for all their confirms together, now or later.

Confirms are matched by tag. What py-amqp offers waits for any confirm after each
message, and after a timeout takes the late one for the next message's.

What is published is measured before anything is written: a header frame cannot be split, and
a broker ends the connection over one that is too large.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from time import monotonic
from typing import Any, Final

from amqp import Message, spec

from kmworker.bus.amqp.framing import FRAME_HEAD, FRAME_MIN_BYTES
from kmworker.bus.amqp.link import BLOCKED, Link
from kmworker.bus.amqp.publishing import is_small
from kmworker.domain.message import Confirm, Outgoing
from kmworker.errors import BrokerUnavailable, PublishRefused, Unsendable

__all__ = ["Confirms", "Publisher", "Sent"]

HEARTBEAT_CHECK_S = 1.0
# What a header frame has beside the properties: its own head and end; class, weight and size.
AROUND_PROPERTIES_BYTES: Final = FRAME_HEAD.size + 1 + 12
# What fits into the smallest frames there are (AMQP 0-9-1, 4.2.3) needs no measuring.
SMALL_BYTES: Final = FRAME_MIN_BYTES - AROUND_PROPERTIES_BYTES
# AMQP 0-9-1, 1.2: what a broker says of a message or frame that it cannot take. Not what it says
# of rights and names (403, 404), which are an operator's, nor of its own end (320).
OVER_A_PUBLICATION: Final = frozenset({311, 406, 501, 502, 503, 504, 505, 540, 541})


@dataclass(slots=True, eq=False)
class Sent:
    """Messages on their way, and what the broker has said of them."""

    messages: Sequence[Outgoing]
    deadline: float
    """Monotonic seconds, for all their confirms."""
    confirms: list[Confirm]
    """Of each message, as far as they have come."""
    unconfirmed: int = 0
    is_lost: bool = False
    """Their connection is gone: no confirm can come any more."""


class Publisher:
    """Confirmed, mandatory, persistent publishing on a connection of its own."""

    def __init__(
        self,
        link: Link,
        confirm_timeout_s: float,
        monotonic: Callable[[], float] = monotonic,
        *,
        signs: bool = False,
        user: str | None = None,
    ) -> None:
        """Prepare to publish.

        Args:
            link: the connection.
            confirm_timeout_s: for all confirms of what is sent together.
            monotonic: the time.
            signs: whether messages say who publishes them (`user_id`, which the broker compares).
            user: who that is; None: the connection's user, if it can be known; empty: nobody.
        """
        self._link = link
        self._confirm_timeout_s = confirm_timeout_s
        self._monotonic = monotonic
        self._signs = signs
        self._user = user
        self._channel: Any = None
        self._sequence = 0
        self._unconfirmed: dict[int, tuple[Sent, int]] = {}
        """Of each tag without a confirm: what was sent with it, and which message it is."""

    @property
    def is_open(self) -> bool:
        """Return whether it can publish."""
        return self._link.is_open

    def open(self) -> None:
        """Connect if need be."""
        if not self._link.is_open:
            self._link.open()
            self._open_channel()

    def renew(self) -> None:
        """Go on on another channel, if no confirm is to come on this one."""
        if self._link.is_open and not self._unconfirmed:
            with self._link.call():
                self._channel.close()
            self._open_channel()

    def _open_channel(self) -> None:
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
        """Return whether confirms are still to come."""
        return bool(self._unconfirmed)

    def publish(
        self, messages: Sequence[Outgoing], while_waiting: Callable[[], None] = lambda: None
    ) -> list[bool]:
        """Publish all, wait for every confirm, and say of each whether a queue was bound for it.

        Raises:
            BrokerUnavailable: some are not stored.
            Unsendable: as `send` does.
        """
        confirms = self.confirmed(self.send(messages), while_waiting)
        if refused := confirms.count(Confirm.REFUSED):
            raise BrokerUnavailable(
                f"{messages[0].exchange}: a queue bound to it refused to store {refused} messages:"
                " it is full, or its node is away"
            )
        return [confirm is Confirm.STORED for confirm in confirms]

    def send(self, messages: Sequence[Outgoing]) -> Sent:
        """Publish all, and wait for nothing.

        Raises:
            BrokerUnavailable: some may not have been published; the connection is gone.
            Unsendable: one of them is too large for this broker's frames; none was published.
        """
        if self._signs:
            messages = self._signed(messages)
        contents = [self._content(message) for message in messages]
        deadline = self._monotonic() + self._confirm_timeout_s
        sent = Sent(messages, deadline, [Confirm.STORED] * len(messages))
        try:
            with self._link.errors(), self._link.connection.corked():
                for index, content in enumerate(contents):
                    self._send(sent, index, content)
        except BrokerUnavailable as error:
            explained = self._explained(error)
            self._lose()
            raise explained from error.__cause__
        except BaseException:
            # What was sent of it, and what its confirms would be for, nobody can say.
            self._lose()
            raise
        return sent

    def confirmed(
        self, sent: Sent, while_waiting: Callable[[], None] = lambda: None
    ) -> list[Confirm]:
        """Wait until the broker has confirmed or refused each of them.

        Args:
            sent: by `send`.
            while_waiting: called about once a second, to keep other connections alive.

        Raises:
            BrokerUnavailable: of some it has said neither; the connection is gone.
            PublishRefused: it has ended the connection over them.
        """
        try:
            self._await_confirms(sent, while_waiting)
        except BaseException:
            # Confirms that are still to come must not be taken for others'.
            self._lose()
            raise
        return sent.confirms

    def is_over(self, sent: Sent) -> bool:
        """Look whether `confirmed` would wait for nothing."""
        if sent.unconfirmed and not sent.is_lost:
            self.take_in()
        return not sent.unconfirmed or sent.is_lost or self._monotonic() >= sent.deadline

    def take_in(self) -> None:
        """Take the confirms that have come, and wait for none."""
        self._drain(0)

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

    def _signed(self, messages: Sequence[Outgoing]) -> Sequence[Outgoing]:
        user = self._link.user if self._user is None else self._user
        if not user:
            return messages
        return [replace(it, properties={**it.properties, "user_id": user}) for it in messages]

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
            self._drain(max(min(sent.deadline, check_at) - now, 0.0))
        if sent.unconfirmed and not sent.is_lost:
            why = f": {BLOCKED}" if self._link.is_blocked else ""
            raise BrokerUnavailable(
                f"{sent.unconfirmed} messages were not confirmed"
                f" within {self._confirm_timeout_s:g} s{why}"
            )
        if sent.is_lost:
            raise BrokerUnavailable("the connection was lost before all confirms had come")

    def _drain(self, timeout_s: float) -> None:
        try:
            self._link.drain(timeout_s)
        except BrokerUnavailable as error:
            raise self._explained(error) from error.__cause__

    def _explained(self, error: BrokerUnavailable) -> BrokerUnavailable:
        """Tell an end over what was published from any other."""
        code = getattr(error.__cause__, "code", None)
        if self._unconfirmed and code in OVER_A_PUBLICATION:
            return PublishRefused(str(error))
        return error

    def _content(self, message: Outgoing) -> Outgoing | Message:
        if "application_headers" not in message.properties or is_small(
            message.properties, SMALL_BYTES
        ):
            return message
        content = Message(message.body, **message.properties)
        # What cannot be encoded shows here, and is not taken for a lost connection.
        size = len(content._serialize_properties())  # noqa: SLF001
        most = self._link.connection.frame_max - AROUND_PROPERTIES_BYTES if self.is_open else size
        if size > most:
            raise Unsendable(f"properties of {size} bytes, and this broker takes {most}")
        return content

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
        for sent, index in self._confirmed(tag, multiple=multiple):
            sent.confirms[index] = Confirm.REFUSED

    def _confirmed(self, tag: int, *, multiple: bool) -> list[tuple[Sent, int]]:
        """Take confirms off the list; return what each was sent with, and which one it is."""
        tags = [tag] if tag in self._unconfirmed else []
        if multiple:
            # They were sent in order, so they stand in order.
            tags = list(takewhile(lambda it: it <= tag, self._unconfirmed))
        found = [self._unconfirmed.pop(it) for it in tags]
        for sent, _index in found:
            sent.unconfirmed -= 1
        return found

    def _on_return(self, _error: object, exchange: str, key: str, message: Any) -> None:
        """Note an unrouted message; its confirm is still to come, so it is unconfirmed."""
        message_id = message.properties.get("message_id")
        for sent, index in self._unconfirmed.values():
            it = sent.messages[index]
            if sent.confirms[index] is Confirm.STORED and (
                (it.exchange, it.routing_key, it.properties.get("message_id"))
                == (exchange, key, message_id)
            ):
                sent.confirms[index] = Confirm.UNROUTED
                return


class Confirms:
    """A `kmworker.ports.Pending`, of what was sent together."""

    def __init__(
        self, publisher: Publisher, sent: Sent, while_waiting: Callable[[], None] = lambda: None
    ) -> None:
        self._publisher = publisher
        self._sent = sent
        self._while_waiting = while_waiting

    def done(self) -> bool:
        """Return whether `result` waits for nothing."""
        return self._publisher.is_over(self._sent)

    def result(self) -> list[Confirm]:
        """Wait for the confirms; raises as `Publisher.confirmed` does."""
        return self._publisher.confirmed(self._sent, self._while_waiting)
