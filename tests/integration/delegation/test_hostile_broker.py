"""Whoever runs the broker: reads, drops, repeats, redirects, alters and forges what goes by it."""

import base64
import json
from threading import Thread
from typing import Any, Final

import amqp
import pytest

from kmworker.delegation.signing import SIGNATURE_HEADER
from kmworker.errors import Untrusted
from kmworker.wire.requests.request import DIRECT_REPLY
from tests.integration.delegation.neighbours import (
    MINE,
    THEIRS,
    is_served,
)
from tests.kit.outside.asking import Answer, Host, Line, volume_of
from tests.kit.outside.delegating import Delegation
from tests.kit.polling import until

FAR: Final = "2036-01-01T00:00:00.000Z"


class Between:
    """Takes each request before a key server does, as a consumer of its own."""

    def __init__(self, channel: Any, namespace: str) -> None:
        self.channel, self.queue = channel, f"{namespace}.requests"
        self.exchange = self.queue
        self.taken: list[Any] = []
        self.answers: list[Answer] = []
        channel.basic_consume(DIRECT_REPLY, no_ack=True, callback=self._hear)
        channel.basic_qos(0, 1, a_global=False)
        # Before all others, as long as it takes any.
        self._tag = channel.basic_consume(
            self.queue, callback=self.taken.append, arguments={"x-priority": 10}
        )

    def _hear(self, message: Any) -> None:
        body = message.body.encode() if isinstance(message.body, str) else bytes(message.body)
        self.answers.append(Answer(body, dict(message.properties)))

    def pump(self) -> None:
        try:
            self.channel.connection.drain_events(timeout=0.1)
        except TimeoutError:
            return

    def one(self) -> Any:
        """Return the next request, and take it off the queue."""
        until(lambda: self.taken, "one is taken", between=self.pump)
        message = self.taken.pop()
        self.channel.basic_ack(message.delivery_tag)
        return message

    def leave(self) -> None:
        """Let key servers have what comes from now on."""
        self.channel.basic_cancel(self._tag)


@pytest.fixture
def between(told: Delegation, admin: Any) -> Between:
    return Between(admin, told.site.namespace)


def again(between: Between, body: bytes, message: Any, **changed: Any) -> None:
    """Publish what was taken once more, altered."""
    properties = {**message.properties, **changed}
    kept = {name: it for name, it in properties.items() if it is not None}
    between.channel.basic_publish(
        amqp.Message(body, **kept), exchange=between.exchange, routing_key="key-requested"
    )


def body_of(message: Any) -> bytes:
    return message.body.encode() if isinstance(message.body, str) else bytes(message.body)


def test_who_reads_the_traffic_finds_no_key_in_it(
    told: Delegation, host: Host, line: Line, between: Between
) -> None:
    request = host.request(MINE)
    line.send(request)
    message = between.one()
    between.leave()
    again(between, body_of(message), message)
    answer = line.answer_to(request)
    key = host.key_in(answer, request)
    assert key == told.exported(MINE)
    for seen in (body_of(message), answer.body):
        assert key not in seen
        assert base64.b64encode(key) not in seen
        assert key.hex().encode() not in seen


def test_a_request_that_is_altered_in_any_bit_is_nobodys(
    host: Host, line: Line, between: Between
) -> None:
    request = host.request(MINE)
    line.send(request)
    message = between.one()
    between.leave()
    body = body_of(message)
    said = json.loads(body)
    altered = [
        body[:-1] + b" }",
        body.replace(MINE.encode(), THEIRS.encode()),
        body.replace(DIRECT_REPLY.encode(), b"x" * len(DIRECT_REPLY)),
        json.dumps(said).encode(),
        b"",
        b"\xff" * 100,
    ]
    for it in altered:
        if it != body:
            again(between, it, message)
    for headers in ({}, {SIGNATURE_HEADER: 7}, {SIGNATURE_HEADER: "!"}, {SIGNATURE_HEADER: [1]}):
        again(between, body, message, application_headers=headers)
    again(between, body, message, user_id="client-18")
    again(between, body, message, user_id="nobody")
    again(between, body, message, user_id=None)
    is_served(host, line)
    assert line.answers_to(request) == []


def test_who_redirects_an_answer_has_what_he_cannot_open(
    host: Host, line: Line, between: Between
) -> None:
    request = host.request(MINE)
    line.send(request)
    message = between.one()
    between.leave()
    again(between, body_of(message), message, reply_to=DIRECT_REPLY)
    until(lambda: between.answers, "it is answered", between=between.pump)
    (stolen,) = between.answers
    # It is the client's all the same, if it is brought there.
    assert host.key_in(stolen, request)
    for of_another in (host.request(MINE), host.request(THEIRS)):
        with pytest.raises(Untrusted):
            host.check(stolen, of_another)
    is_served(host, line)


def test_an_answer_that_is_altered_does_not_hold(host: Host, line: Line) -> None:
    request = host.request(MINE)
    answer = line.ask(request)
    said = answer.said
    for path, value in (
        ("key_id", "5f0e1c9a-0000-4000-8000-000000000000"), ("not_after", FAR),
        ("sealed", said["data"]["sealed"][4:]), ("state", "suspended"), ("signed_by", "0" * 16),
        ("request", "0" * 64), ("project_id", "p2"),
    ):  # fmt: skip
        data = {**said["data"], path: value}
        forged = Answer(json.dumps({**said, "data": data}).encode(), answer.properties)
        with pytest.raises(Untrusted):
            host.check(forged, request)
    late = Answer(json.dumps({**said, "time": FAR}).encode(), answer.properties)
    with pytest.raises(Untrusted):
        host.check(late, request)


@pytest.mark.parametrize("is_answered", [True, False], ids=["answered, too", "forged alone"])
def test_the_library_passes_over_what_is_forged_and_takes_what_holds(
    host: Host, between: Between, *, is_answered: bool
) -> None:
    """Whoever can write to it could otherwise end every request of a client's at once."""
    found: list[bytes | Untrusted] = []

    def ask() -> None:
        try:
            with host.keys() as keys, keys.get(volume_of(MINE)) as delivered:
                found.append(bytes(delivered.key.view))
        except Untrusted as untrusted:
            found.append(untrusted)

    asking = Thread(target=ask)
    asking.start()
    message = between.one()
    between.leave()
    forged = {
        "correlation_id": message.properties["message_id"],
        "application_headers": {SIGNATURE_HEADER: "A" * 86 + "=="},
    }
    for body in (b"{}", b"\xff", b'{"type":"key-refused"}'):
        between.channel.basic_publish(
            amqp.Message(body, **forged), exchange="", routing_key=message.properties["reply_to"]
        )
    if is_answered:
        again(between, body_of(message), message)
    asking.join(8)
    (it,) = found
    assert isinstance(it, bytes if is_answered else Untrusted)


def test_a_request_that_is_repeated_gets_its_client_nothing_new(
    told: Delegation, host: Host, line: Line, between: Between
) -> None:
    request = host.request(MINE)
    line.send(request)
    message = between.one()
    between.leave()
    for _ in range(20):
        again(between, body_of(message), message)
    until(lambda: len(line.answers_to(request)) >= 20, "all answered", between=line.pump)
    assert {host.key_in(it, request) for it in line.answers_to(request)} == {told.exported(MINE)}
