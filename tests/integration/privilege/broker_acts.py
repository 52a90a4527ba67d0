"""What each account of the broker may do and what it may not, as AMQP operations."""

from collections.abc import Callable
from typing import Any, Final

from pika import BasicProperties
from pika.adapters.blocking_connection import BlockingChannel

from kmworker.wire.events.definition import EVENT_TYPES

EVENTS, WORK = "kmworker.events", "kmworker.events.work"
ASSIGNMENTS, DEAD = "kmworker.assignments", "kmworker.dead"
ANCHOR = "kmworker.anchor"
AUDIT = "kmworker.audit"
REQUESTS = "kmworker.requests"
REVOCATIONS = "kmworker.revocations"
MY_QUEUE, ANOTHERS = "kmworker.clients.client/7", "kmworker.clients.compute-17/0"
OWN, LASTING, OTHERS = "kmworker.sub.tests", "kmworker.sub.lasting", "someone.elses"
ASSIGNED: Final = "key-assigned.volume.p1"
QUORUM: Final = {"x-queue-type": "quorum"}

Act = Callable[[BlockingChannel], object]


def publish(exchange: str, routing_key: str) -> Act:
    """Publish, confirmed: only an answer says that it was permitted."""

    def act(channel: BlockingChannel) -> None:
        channel.confirm_delivery()
        # Expired at once: a permitted test must leave nothing behind for the next.
        channel.basic_publish(exchange, routing_key, b"", BasicProperties(expiration="0"))

    return act


def consume(queue: str) -> Act:
    return lambda channel: channel.basic_get(queue)


def declare_queue(name: str, **arguments: Any) -> Act:
    """Declare a queue for this connection alone, so that it is gone before the next test."""
    return lambda channel: channel.queue_declare(name, exclusive=True, arguments=arguments)


def declare_exchange(name: str, **arguments: Any) -> Act:
    return lambda channel: channel.exchange_declare(
        name, "topic", durable=True, arguments=arguments
    )


def bind(queue: str, exchange: str, key: str) -> Act:
    return lambda channel: channel.queue_bind(queue, exchange, key)


def own_queue_bound(exchange: str, key: str) -> Act:
    """Do what `kmworker watch` does: a queue that the broker names, for this connection alone."""

    def act(channel: BlockingChannel) -> None:
        queue = channel.queue_declare("", exclusive=True).method.queue
        assert queue is not None
        channel.queue_bind(queue, exchange, key)
        channel.basic_get(queue)

    return act


def both(first: Act, second: Act) -> Act:
    def act(channel: BlockingChannel) -> None:
        first(channel)
        second(channel)

    return act


def look_at(queue: str) -> Act:
    return lambda channel: channel.queue_declare(queue, passive=True)


def _near(name: str) -> tuple[str, str]:
    return f"{name}.more", f"not.{name}"


MAY: Final[dict[str, dict[str, Act]]] = {
    "producer": {f"publish {type_}": publish(EVENTS, type_) for type_ in sorted(EVENT_TYPES)},
    "worker": {
        "take an event": consume(WORK),
        "announce": publish(ASSIGNMENTS, ASSIGNED),
        "announce for a project with dots": publish(ASSIGNMENTS, "key-assigned.replica.eu1.b@c"),
        "dead-letter": publish(DEAD, "malformed.unknown"),
        "count dead letters": look_at(DEAD),
        "tell key servers what has ended": publish(REVOCATIONS, "grant-ended.p1"),
        "keep the anchor": both(publish(ANCHOR, ANCHOR), consume(ANCHOR)),
        "record": publish(AUDIT, "record.key-suspended.p1"),
    },
    "subscriber": {
        "declare a durable queue": both(
            lambda channel: channel.queue_declare(LASTING, durable=True, arguments=QUORUM),
            lambda channel: channel.queue_delete(LASTING),
        ),
        "subscribe": both(declare_queue(OWN), bind(OWN, ASSIGNMENTS, "key-assigned.#")),
        "subscribe to a project": both(
            declare_queue(OWN), bind(OWN, ASSIGNMENTS, "key-assigned.*.p1")
        ),
        "subscribe to projects by their first part": both(
            declare_queue(OWN), bind(OWN, ASSIGNMENTS, "key-assigned.*.eu1.#")
        ),
        "receive": both(declare_queue(OWN), consume(OWN)),
        "dead-letter among its own": declare_queue(
            "kmworker.sub.dlx", **{"x-dead-letter-exchange": "kmworker.sub.rest"}
        ),
    },
    "operator": {
        "read dead letters": consume(DEAD),
        "replay": publish(EVENTS, "volume-created"),
        "replay what is of no known type": publish(EVENTS, "volume-exploded"),
        "announce again": publish(ASSIGNMENTS, ASSIGNED),
        "watch assignments": own_queue_bound(ASSIGNMENTS, "key-assigned.#"),
        "watch dead letters": own_queue_bound(DEAD, "#"),
        "record": publish(AUDIT, "record.kek-activated"),
    },
    "recorder": {
        "record": publish(AUDIT, "record.key-exported.p1"),
        "record what is of no project": publish(AUDIT, "record.rewrapped"),
    },
    "auditor": {
        "take records": consume(AUDIT),
        "count records": look_at(AUDIT),
        "publish checkpoints": publish(AUDIT, "checkpoint"),
    },
    "keyserver": {
        "take requests": consume(REQUESTS),
        "look at the anchor": consume(ANCHOR),
        "answer in a client's queue": publish("", ANOTHERS),
        "take what has ended": consume(REVOCATIONS),
        "record": publish(AUDIT, "record.key-delivered.p1"),
    },
    "client": {
        "ask": publish(REQUESTS, "key-requested"),
        "have a queue of its own": both(declare_queue(MY_QUEUE), consume(MY_QUEUE)),
        "hear answers": lambda channel: channel.basic_consume(
            "amq.rabbitmq.reply-to", lambda *_: None, auto_ack=True
        ),
    },
}

CONFIGURES: Final[dict[str, Act]] = {
    "declare a queue": declare_queue(OTHERS),
    "declare an exchange": declare_exchange(OTHERS),
    "declare the work queue otherwise": declare_queue(WORK),
    "declare the work queue as it is": lambda channel: channel.queue_declare(
        WORK, durable=True, arguments=QUORUM
    ),
    "declare the events exchange": declare_exchange(EVENTS),
    "delete the work queue": lambda channel: channel.queue_delete(WORK),
    "delete the dead queue": lambda channel: channel.queue_delete(DEAD),
    "delete the events exchange": lambda channel: channel.exchange_delete(EVENTS),
    "unbind the work queue": lambda channel: channel.queue_unbind(WORK, EVENTS, "#"),
    "bind the work queue elsewhere": bind(WORK, ASSIGNMENTS, "#"),
    "bind the dead queue elsewhere": bind(DEAD, EVENTS, "#"),
    "publish past all exchanges": publish("", WORK),
    "publish to amq.topic": publish("amq.topic", "volume-created"),
    "publish dead letters to the queue": publish("", DEAD),
}
# A pattern that forgets an end reaches further than its name. Rights are looked at before
# existence is: where one of these is permitted, the broker says that there is no such thing.
REACHES: Final[dict[str, Act]] = {
    **{f"publish to {name}": publish(name, "volume-created") for name in _near(EVENTS)},
    **{f"announce to {name}": publish(name, ASSIGNED) for name in _near(ASSIGNMENTS)},
    **{f"bury in {name}": publish(name, "malformed.unknown") for name in _near(DEAD)},
    **{f"take from {name}": consume(name) for name in (*_near(WORK), *_near(DEAD))},
}
# A topic exchange tries each way to part a routing key among them: with a dozen of them, and a
# dozen dots in a project's name, one announcement kept its publisher waiting for 13 s, and with a
# few more for ever.
WILD: Final = ("key-assigned.#.#", "key-assigned.#.p1", "key-assigned.##")
# Reading the trail is a right of its own; and without its binding nothing could be recorded, and
# so no key delivered.
AUDIT_OF_OTHERS: Final[dict[str, Act]] = {
    "take records": consume(AUDIT),
    "purge records": lambda channel: channel.queue_purge(AUDIT),
    "listen to records": own_queue_bound(AUDIT, "record.#"),
}
AUDIT_ITSELF: Final[dict[str, Act]] = {
    "unbind the audit queue": lambda channel: channel.queue_unbind(AUDIT, AUDIT, "record.#"),
    "bind the audit queue more widely": bind(AUDIT, AUDIT, "#"),
    "delete the audit queue": lambda channel: channel.queue_delete(AUDIT),
    "publish records past the exchange": publish("", AUDIT),
    "forge a checkpoint": publish(AUDIT, "checkpoint"),
    "take records from another queue": consume("kmworker.audit.more"),
}
REQUESTS_OF_OTHERS: Final[dict[str, Act]] = {
    "take requests": consume(REQUESTS),
    "purge requests": lambda channel: channel.queue_purge(REQUESTS),
    "ask": publish(REQUESTS, "key-requested"),
    "unbind the requests": lambda channel: channel.queue_unbind(
        REQUESTS, REQUESTS, "key-requested"
    ),
    "take requests from another queue": consume("kmworker.requests.more"),
    "hear a client's answers": consume(ANOTHERS),
    "take a client's queue": declare_queue(ANOTHERS),
}
# Who takes one keeps a client from being told; who publishes one costs key servers a look.
REVOCATIONS_OF_OTHERS: Final[dict[str, Act]] = {
    "take what has ended": consume(REVOCATIONS),
    "purge what has ended": lambda channel: channel.queue_purge(REVOCATIONS),
    "say what has ended": publish(REVOCATIONS, "grant-ended.p1"),
    "say it past the exchange": publish("", REVOCATIONS),
    "listen to what has ended": own_queue_bound(REVOCATIONS, "#"),
    "unbind what has ended": lambda channel: channel.queue_unbind(
        REVOCATIONS, ASSIGNMENTS, "key-released.#"
    ),
    "take what has ended from another queue": consume("kmworker.revocations.more"),
}
NO_QUEUE_OF_ITS_OWN: Final[dict[str, Act]] = {
    "have the broker name a queue": own_queue_bound(ASSIGNMENTS, "key-assigned.#"),
    "declare a subscriber's queue": declare_queue(OWN),
}

MAY_NOT: Final[dict[str, dict[str, Act]]] = {
    "producer": {
        **REVOCATIONS_OF_OTHERS,
        **CONFIGURES,
        **REACHES,
        **NO_QUEUE_OF_ITS_OWN,
        "publish what is no event type": publish(EVENTS, "volume-exploded"),
        "publish a longer type": publish(EVENTS, "volume-created.x"),
        "publish an assignment": publish(ASSIGNMENTS, ASSIGNED),
        "publish a dead letter": publish(DEAD, "malformed.unknown"),
        "take events": consume(WORK),
        "take dead letters": consume(DEAD),
        "purge events": lambda channel: channel.queue_purge(WORK),
        "move the anchor": publish(ANCHOR, ANCHOR),
        **REQUESTS_OF_OTHERS,
        **AUDIT_OF_OTHERS,
        **AUDIT_ITSELF,
        "record": publish(AUDIT, "record.key-suspended.p1"),
    },
    "worker": {
        **{
            name: act for name, act in REVOCATIONS_OF_OTHERS.items() if name != "say what has ended"
        },
        **CONFIGURES,
        **REACHES,
        **NO_QUEUE_OF_ITS_OWN,
        "publish an event": publish(EVENTS, "volume-created"),
        "take dead letters": consume(DEAD),
        "purge dead letters": lambda channel: channel.queue_purge(DEAD),
        "take a subscriber's messages": consume(OWN),
        **REQUESTS_OF_OTHERS,
        **AUDIT_OF_OTHERS,
        **AUDIT_ITSELF,
    },
    "keyserver": {
        **{
            name: act
            for name, act in REVOCATIONS_OF_OTHERS.items()
            if name
            not in {"take what has ended", "purge what has ended", "say it past the exchange"}
        },
        # It answers in whichever queue there is: a client's has whatever name that has.
        **{
            name: act
            for name, act in CONFIGURES.items()
            if name not in {"publish past all exchanges", "publish dead letters to the queue"}
        },
        **REACHES,
        **NO_QUEUE_OF_ITS_OWN,
        **AUDIT_OF_OTHERS,
        **{
            name: act
            for name, act in AUDIT_ITSELF.items()
            if name != "publish records past the exchange"
        },
        **{
            name: act
            for name, act in REQUESTS_OF_OTHERS.items()
            if name not in {"take requests", "purge requests"}
        },
        "publish an event": publish(EVENTS, "volume-created"),
        "publish an assignment": publish(ASSIGNMENTS, ASSIGNED),
        "take events": consume(WORK),
        "take dead letters": consume(DEAD),
        "move the anchor": publish(ANCHOR, ANCHOR),
    },
    "client": {
        **REVOCATIONS_OF_OTHERS,
        "have a ninth queue": declare_queue("kmworker.clients.client/8"),
        "have a queue of a name that begins like its own": declare_queue(f"{MY_QUEUE}7"),
        "have a queue of a client that is called nearly so": declare_queue(
            "kmworker.clients.client.b/7"
        ),
        "listen to others' queues by a binding": both(
            declare_queue(MY_QUEUE), bind(MY_QUEUE, ASSIGNMENTS, "key-assigned.#")
        ),
        "tell itself": publish("", MY_QUEUE),
        **CONFIGURES,
        **REACHES,
        **NO_QUEUE_OF_ITS_OWN,
        **AUDIT_OF_OTHERS,
        **AUDIT_ITSELF,
        **{name: act for name, act in REQUESTS_OF_OTHERS.items() if name != "ask"},
        "record": publish(AUDIT, "record.key-delivered.p1"),
        "publish an event": publish(EVENTS, "volume-attached"),
        "publish an assignment": publish(ASSIGNMENTS, ASSIGNED),
        "take events": consume(WORK),
        "take dead letters": consume(DEAD),
        "move the anchor": publish(ANCHOR, ANCHOR),
    },
    "recorder": {
        **CONFIGURES,
        **REACHES,
        **NO_QUEUE_OF_ITS_OWN,
        **REQUESTS_OF_OTHERS,
        **AUDIT_OF_OTHERS,
        **AUDIT_ITSELF,
        "publish an event": publish(EVENTS, "volume-created"),
        "publish an assignment": publish(ASSIGNMENTS, ASSIGNED),
        "take events": consume(WORK),
        "take dead letters": consume(DEAD),
        "move the anchor": publish(ANCHOR, ANCHOR),
    },
    "auditor": {
        **REVOCATIONS_OF_OTHERS,
        **CONFIGURES,
        **REACHES,
        **NO_QUEUE_OF_ITS_OWN,
        **REQUESTS_OF_OTHERS,
        **{name: act for name, act in AUDIT_ITSELF.items() if name != "forge a checkpoint"},
        "write a record": publish(AUDIT, "record.key-delivered.p1"),
        "publish an event": publish(EVENTS, "volume-created"),
        "publish an assignment": publish(ASSIGNMENTS, ASSIGNED),
        "take events": consume(WORK),
        "take dead letters": consume(DEAD),
        "move the anchor": publish(ANCHOR, ANCHOR),
    },
    "subscriber": {
        **REVOCATIONS_OF_OTHERS,
        **CONFIGURES,
        **REACHES,
        "have the broker name a queue": own_queue_bound(ASSIGNMENTS, "key-assigned.#"),
        "bind to more than assignments": both(declare_queue(OWN), bind(OWN, ASSIGNMENTS, "#")),
        **{f"bind {key}": both(declare_queue(OWN), bind(OWN, ASSIGNMENTS, key)) for key in WILD},
        "listen to events": both(declare_queue(OWN), bind(OWN, EVENTS, "#")),
        "listen to dead letters": both(declare_queue(OWN), bind(OWN, DEAD, "#")),
        "publish an event": publish(EVENTS, "volume-created"),
        "publish an assignment": publish(ASSIGNMENTS, ASSIGNED),
        "publish a dead letter": publish(DEAD, "malformed.unknown"),
        "take events": consume(WORK),
        "take dead letters": consume(DEAD),
        **REQUESTS_OF_OTHERS,
        **AUDIT_OF_OTHERS,
        **AUDIT_ITSELF,
        "record": publish(AUDIT, "record.key-suspended.p1"),
        "dead-letter into the events": declare_queue(
            "kmworker.sub.dlx2", **{"x-dead-letter-exchange": EVENTS}
        ),
        "feed the events from an exchange of its own": both(
            declare_exchange("kmworker.sub.x"),
            lambda channel: channel.exchange_bind(EVENTS, "kmworker.sub.x", "#"),
        ),
    },
    "operator": {
        **REVOCATIONS_OF_OTHERS,
        **CONFIGURES,
        **REACHES,
        "declare a subscriber's queue": declare_queue(OWN),
        "take events": consume(WORK),
        "purge events": lambda channel: channel.queue_purge(WORK),
        "listen to events": own_queue_bound(EVENTS, "#"),
        "watch more than assignments": own_queue_bound(ASSIGNMENTS, "#"),
        **{f"watch {key}": own_queue_bound(ASSIGNMENTS, key) for key in WILD},
        "publish no assignment to subscribers": publish(ASSIGNMENTS, "volume-created"),
        "forge a dead letter": publish(DEAD, "malformed.unknown"),
        "take a subscriber's messages": consume(OWN),
        **REQUESTS_OF_OTHERS,
        **AUDIT_OF_OTHERS,
        **AUDIT_ITSELF,
    },
}
