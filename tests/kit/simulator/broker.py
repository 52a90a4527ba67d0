"""A broker in memory that does what RabbitMQ does with quorum queues.

It survives whatever happens to its clients. A message handed out on a channel stays that
channel's until it is acknowledged there or the channel ends; then it goes back to its
queue, marked as redelivered, with a count that tells how often. What a client writes is
read when the broker gets to it, and lost if the connection breaks before.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from amqp.exceptions import FrameSyntaxError, NotFound, PreconditionFailed

from kmworker.wire.topology import Topology
from tests.kit.simulator.clock import SettableClock
from tests.kit.simulator.exchanges import Exchanges
from tests.kit.simulator.manner import Manner
from tests.kit.simulator.wire import (
    Ack,
    Cancelled,
    Closed,
    Deliver,
    Effect,
    Message,
    Publish,
    Queue,
    Reject,
    Returned,
    ServerChannel,
    Session,
)

ALARM_S: Final = 45.0


class Broker(Exchanges):
    """Exchanges, queues and bindings of one namespace, and whoever is connected.

    Attributes:
        journal: every effect that can be seen, in its order.
        observers: called with each effect as it happens.
        protocol_errors: what clients did that ends a channel.
        abhors: says over which message a connection is ended.
    """

    def __init__(
        self,
        clock: SettableClock,
        namespace: str = "kmworker",
        *,
        requeue_at_front: bool = False,
        manner: Manner | None = None,
    ) -> None:
        super().__init__()
        self.topology = Topology(namespace)
        self.clock = clock
        self.journal: list[Effect] = []
        self.observers: list[Callable[[Effect], None]] = []
        self.protocol_errors: list[str] = []
        self.abhors: Callable[[Publish], bool] = lambda _frame: False
        self.manner = manner or Manner()
        # Without a delivery limit RabbitMQ puts them at the back, with one near the front.
        self._requeue_at_front = requeue_at_front
        self._sessions: list[Session] = []
        self._turn: deque[ServerChannel] = deque()
        self._alarm_until = 0.0
        self._refusals = 0
        names = self.topology
        for exchange in (names.events, names.assignments, names.dead):
            self.declare_exchange(exchange)
        for queue, exchange in ((names.work, names.events), (names.dead, names.dead)):
            self.declare_queue(queue)
            self.bind(queue, exchange, "#")

    @property
    def work(self) -> Queue:
        """Return the queue that workers compete on."""
        return self.queues[self.topology.work]

    @property
    def dead(self) -> Queue:
        """Return the dead letters."""
        return self.queues[self.topology.dead]

    @property
    def anchors(self) -> list[bytes]:
        """Return what the broker keeps for workers to come."""
        self.run()
        queue = self.queues.get(self.topology.anchor)
        return [] if queue is None else [message.body for message in queue.ready]

    @anchors.setter
    def anchors(self, bodies: Sequence[bytes]) -> None:
        name = self.topology.anchor
        self.bind(name, name, "#").ready = deque(Message(body, name, {}) for body in bodies)

    @property
    def is_settled(self) -> bool:
        """Return whether every event has been acknowledged, once everything has arrived."""
        self.run()
        return not self.work.ready and not any(
            channel.unacknowledged
            for session in self._sessions
            for channel in session.channels.values()
            if channel.queue is self.work
        )

    @property
    def is_in_trouble(self) -> bool:
        """Return whether something has not been noticed yet that only time shows."""
        is_stalled = any(it.is_up and it.stalled_at is not None for it in self._sessions)
        return is_stalled or self.clock.monotonic() < self._alarm_until

    def consumers_of(self, queue: Queue) -> int:
        """Count those that are handed a queue's messages."""
        return sum(1 for channel in self._turn if channel.queue is queue)

    # --- what clients do ----------------------------------------------------------

    def publish(
        self, exchange: str, routing_key: str, body: bytes, properties: Mapping[str, Any]
    ) -> bool:
        """Store a message in each queue that is bound for it and has room.

        Says whether any is bound.
        """
        queues = self.routed(exchange, routing_key)
        with_room = [queue for queue in queues if not queue.is_full]
        for queue in with_room:
            queue.ready.append(Message(body, routing_key, dict(properties)))
        if with_room:
            self.happened(Effect("stored", exchange, body))
        self._dispatch()
        return bool(queues)

    def connect(self) -> Session:
        """Let a client in."""
        session = Session()
        self._sessions.append(session)
        return session

    def consume(self, channel: ServerChannel, queue: str) -> None:
        """Start to hand out a queue's messages on a channel."""
        channel.queue = self.queues[queue]
        # Several consumers of a channel are one here, which may have what all may have.
        channel.width += channel.prefetch
        if channel not in self._turn:
            self._turn.append(channel)
        self._dispatch()

    def cancel(self, channel: ServerChannel) -> None:
        """End a channel's consumers; what they were handed stays the channel's."""
        channel.width, channel.handed = 0, set()
        if channel in self._turn:
            self._turn.remove(channel)

    def get(self, channel: ServerChannel, queue: str) -> tuple[int, Message, int] | None:
        """Hand out one message of a queue that nobody consumes, and say how many are left."""
        channel.queue = self.queues[queue]
        if not channel.queue.ready:
            return None
        channel.delivered += 1
        message = channel.unacknowledged[channel.delivered] = channel.queue.ready.popleft()
        return channel.delivered, message, len(channel.queue.ready)

    def end(self, session: Session, *, arrives: bool) -> None:
        """End a connection; say whether what was written on it still arrives."""
        if not session.is_up:
            return
        session.is_up = False
        session.outbox.clear()
        if not arrives:
            session.inbox.clear()
        # Behind an alarm, what was written is read when the alarm is over: long after.
        self._read(session)
        for channel in session.channels.values():
            self._requeue(channel)
        if not session.inbox:
            self._sessions.remove(session)
        self._dispatch()

    def run(self, *, patience: bool = True) -> None:
        """Read what has been written, hand out messages, confirm what is due.

        Args:
            patience: whether confirms may be late; not when a client waits for nothing else.
        """
        for session in list(self._sessions):
            if session.inbox:
                self._read(session)
            if not session.is_up and not session.inbox:
                self._sessions.remove(session)
        self._dispatch()
        for session in self._sessions:
            if session.is_up and session.is_publishing and not session.is_silent:
                self._confirm(session, patience=patience)

    def happened(self, effect: Effect) -> None:
        """Note an effect and tell the observers."""
        self.journal.append(effect)
        for observe in self.observers:
            observe(effect)

    # --- what goes wrong ----------------------------------------------------------

    def restart(self) -> None:
        """End all connections; what is stored stays."""
        for session in list(self._sessions):
            self.end(session, arrives=False)

    def raise_alarm(self, seconds: float = ALARM_S) -> None:
        """Read nothing from connections that publish, for so long."""
        self._alarm_until = self.clock.monotonic() + seconds

    def refuse_next(self) -> None:
        """Refuse to store the next message that a client publishes."""
        self._refusals += 1

    def cancel_consumers(self) -> None:
        """Stop handing out messages, and say so; what was handed out stays so."""
        for channel in self._turn:
            channel.session.outbox.append(Cancelled(channel.number))
        self._turn.clear()

    # --- inside -------------------------------------------------------------------

    def _read(self, session: Session) -> None:
        if session.is_publishing and self.clock.monotonic() < self._alarm_until:
            return
        while session.inbox:
            frame = session.inbox.popleft()
            channel = session.channels.get(frame.channel)
            if channel is None:
                continue
            if isinstance(frame, Publish):
                self._take(channel, frame)
            elif isinstance(frame, Reject):
                self._hand_back(channel, [channel.unacknowledged.pop(frame.tag)])
            else:
                self._acknowledge(channel, frame)

    def _take(self, channel: ServerChannel, frame: Publish) -> None:
        if not self.has_exchange(frame.exchange):
            missing = NotFound(f"no exchange '{frame.exchange}'")
            del channel.session.channels[channel.number]
            channel.session.outbox.append(Closed(frame.channel, missing))
            return
        channel.published += 1
        if self._refusals:
            self._refusals -= 1
            channel.unconfirmed[channel.published] = (frame, False)
            return
        if self.abhors(frame):
            self._end_over(channel)
            return
        is_full = any(queue.is_full for queue in self.routed(frame.exchange, frame.routing_key))
        routed = self.publish(frame.exchange, frame.routing_key, frame.body, frame.properties)
        if not routed:
            channel.session.outbox.append(Returned(frame))
        channel.unconfirmed[channel.published] = (frame, not is_full)

    def _end_over(self, channel: ServerChannel) -> None:
        """End a connection over what was published on it."""
        session = channel.session
        session.inbox.clear()
        for number in list(session.channels):
            self._requeue(session.channels.pop(number))
        error = FrameSyntaxError("FRAME_ERROR - type 2")
        session.outbox.append(Closed(channel.number, error))

    def _acknowledge(self, channel: ServerChannel, frame: Ack) -> None:
        tags = [frame.tag] if frame.tag in channel.unacknowledged else []
        if frame.multiple:
            tags = [tag for tag in channel.unacknowledged if tag <= frame.tag]
        if not tags:
            wrong = f"unknown delivery tag {frame.tag}"
            self.protocol_errors.append(wrong)
            self._requeue(channel)
            del channel.session.channels[channel.number]
            channel.session.outbox.append(Closed(frame.channel, PreconditionFailed(wrong)))
            return
        for tag in tags:
            message = channel.unacknowledged.pop(tag)
            self.happened(Effect("acknowledged", self.topology.events, message.body))

    def _confirm(self, session: Session, *, patience: bool) -> None:
        for channel in session.channels.values():
            if not channel.unconfirmed:
                continue
            stored = {tag: done for tag, (_frame, done) in channel.unconfirmed.items()}
            for confirm in self.manner.confirms(channel, stored, patience=patience):
                session.outbox.append(confirm)
                for tag in confirm.covers:
                    confirm.frames.append(channel.unconfirmed.pop(tag)[0])

    def _requeue(self, channel: ServerChannel) -> None:
        if channel in self._turn:
            self._turn.remove(channel)
        self._hand_back(channel, list(channel.unacknowledged.values()))
        channel.unacknowledged.clear()

    def _hand_back(self, channel: ServerChannel, messages: Sequence[Message]) -> None:
        if channel.queue is None:
            return
        most = channel.queue.delivery_limit
        handed_back = (message.handed_back() for message in messages)
        returned = [it for it in handed_back if most is None or it.delivery_count <= most]
        if self._requeue_at_front:
            channel.queue.ready.extendleft(reversed(returned))
        else:
            channel.queue.ready.extend(returned)

    def _dispatch(self) -> None:
        """Hand out what may be handed out, to each consumer in turn."""
        idle = 0
        while idle < len(self._turn):
            channel = self._turn[0]
            self._turn.rotate(-1)
            if channel.queue is not None and channel.queue.ready and channel.has_credit:
                message = channel.queue.ready.popleft()
                channel.delivered += 1
                channel.unacknowledged[channel.delivered] = message
                channel.handed.add(channel.delivered)
                channel.session.outbox.append(Deliver(channel.number, channel.delivered, message))
                idle = 0
            else:
                idle += 1
