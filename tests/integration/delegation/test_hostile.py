"""Whoever means harm: at the broker, with another's account, with what was captured or stolen."""

import base64
import json
import sys
from collections.abc import Callable, Iterator
from threading import Event, Thread
from time import monotonic
from typing import Any, Final

import amqp
import pytest

from kmworker.delegation.signing import SIGNATURE_HEADER
from kmworker.errors import Untrusted
from kmworker.wire.requests.request import DIRECT_REPLY
from tests.integration.cli.test_events import volume
from tests.kit.outside.asking import Answer, Host, Line, lined, second_client, volume_of
from tests.kit.outside.delegating import NODE, Delegation, P, attached, enrol
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ

MINE, THEIRS = "mine", "theirs"
OTHER_NODE: Final = "compute-18"
FAR: Final = "2036-01-01T00:00:00.000Z"
HONEST: Final = 40


@pytest.fixture(scope="module")
def told(delegation: Delegation) -> Delegation:
    """A volume on each of two nodes."""
    delegation.tell(
        volume(MINE, P), volume(THEIRS, P), attached(MINE), attached(THEIRS, node=OTHER_NODE)
    )
    until(lambda: len(delegation.site.reader.table(P, "grants")) == 2, "attached")
    return delegation


@pytest.fixture(scope="module")
def other(told: Delegation, rabbitmq: RabbitMQ) -> Iterator[Host]:
    """Another client, of another node, with its own account."""
    options = ("--node", OTHER_NODE, "--project", "*")
    with second_client(told, rabbitmq, "client-18", enrol, *options) as host:
        yield host


@pytest.fixture(scope="module")
def who_may_be_anybody(told: Delegation, rabbitmq: RabbitMQ) -> tuple[str, str]:
    """What an administrator makes himself: a user whom the broker lets say that he is another."""
    namespace, name, password = told.site.namespace, "anybody", "whoever-it-may-be"
    user = {"name": name, "password": password, "tags": ["impersonator"]}
    rights = {"configure": ".*", "write": ".*", "read": ".*"}
    permission = {"user": name, "vhost": namespace, **rights}
    rabbitmq.import_definitions({"users": [user], "permissions": [permission]})
    return name, password


@pytest.fixture
def admin(
    told: Delegation, rabbitmq: RabbitMQ, who_may_be_anybody: tuple[str, str]
) -> Iterator[Any]:
    """The broker's administrator, who may say that he is anybody."""
    name, password = who_may_be_anybody
    with amqp.Connection(
        f"127.0.0.1:{rabbitmq.port}", name, password, virtual_host=told.site.namespace
    ) as connection:
        yield connection.channel()


def tell(figures: str) -> None:
    """Print figures, for whoever looks: pytest -rP."""
    sys.stdout.write(f"{figures}\n")


def is_served(host: Host, line: Line, name: str = MINE) -> None:
    """Whatever has happened, an honest client gets its key."""
    request = host.request(name)
    assert host.key_in(line.ask(request), request)


def counted(told: Delegation, name: str) -> int:
    """What the key servers have counted of something."""
    return sum(int(it.get(name, 0)) for it in told.site.reader.key_servers().values())


# --- with an account that is somebody else's ------------------------------------------------


def test_anothers_request_is_nobodys_under_ones_own_account(
    told: Delegation, host: Host, line: Line, other: Host
) -> None:
    captured = host.request(MINE)
    assert host.key_in(line.ask(captured), captured)
    with lined(other) as own:
        own.send(captured)
        own.send(captured, user_id=None)
        mixed = other.request(MINE, reply_to=DIRECT_REPLY)
        # The other's body under its own signature: it is another's source.
        own.say(captured.body, **{
            **mixed.properties(other.name), "message_id": captured.asked.id, "user_id": other.name,
        })  # fmt: skip
        is_served(other, own, THEIRS)
        assert own.answers_to(captured) == []
    until(lambda: counted(told, "dropped_forged") >= 2, "they are counted")
    until(lambda: counted(told, "dropped_no_user") >= 1, "and who says no name is")


def test_nobody_says_that_he_is_another_to_the_broker(host: Host, other: Host) -> None:
    with lined(other) as own:
        own.send(host.request(MINE), user_id=host.name)
        with pytest.raises(amqp.exceptions.PreconditionFailed):
            own.pump(10)


def test_anothers_answer_does_not_hold(host: Host, line: Line, other: Host) -> None:
    with lined(other) as own:
        theirs = other.request(THEIRS)
        captured = own.ask(theirs)
    mine = host.request(MINE)
    for request in (mine, theirs):
        with pytest.raises(Untrusted):
            host.check(captured, request)
    is_served(host, line)


def test_a_client_cannot_write_to_another_nor_hear_of_it(host: Host, other: Host) -> None:
    namespace = host.made.site.namespace
    acts: list[Callable[[Any], Any]] = [
        lambda it: it.queue_declare(f"{namespace}.clients.{host.name}"),
        lambda it: it.queue_declare(f"{namespace}.clients.{other.name}"),
        lambda it: it.basic_consume(f"{namespace}.requests"),
        lambda it: it.basic_get(f"{namespace}.requests"),
        lambda it: it.queue_purge(f"{namespace}.requests"),
        lambda it: (
            it.basic_publish(amqp.Message(b"{}"), exchange="", routing_key=f"{namespace}.requests"),
            it.queue_declare(f"{namespace}.requests", passive=True),
        ),
        lambda it: it.queue_bind(f"{namespace}.requests", f"{namespace}.requests", "x"),
    ]
    for act in acts:
        with pytest.raises(amqp.exceptions.AccessRefused), lined(other) as own:
            act(own.channel)


# --- addresses ------------------------------------------------------------------------------


ADDRESSES: Final = (
    f"{DIRECT_REPLY}.",
    f"{DIRECT_REPLY}.abc",
    f"{DIRECT_REPLY}.{'A' * 200}",
    f"{DIRECT_REPLY}.\x00\x7f \xe9",
    # What RabbitMQ 3.10 ends the connection over, whoever it is that publishes to it.
    f"{DIRECT_REPLY}.g1h3AA5yZXBseUAx.abc",
    # Erlang's terms {1, 2} and 'abcde', where it looks for a process.
    f"{DIRECT_REPLY}.g2gCYQFhAg==.",
    f"{DIRECT_REPLY}.g2QABWFiY2Rl.key",
)


def test_an_address_that_leads_nowhere_harms_nobody_else(
    told: Delegation, host: Host, line: Line, rabbitmq: RabbitMQ
) -> None:
    before = {it["pid"] for it in told.site.reader.key_servers().values()}
    options = ("--node", NODE, "--project", "*")
    with second_client(told, rabbitmq, "reckless", enrol, *options) as reckless:
        with lined(reckless) as own:
            for address in ADDRESSES:
                own.send(reckless.request(MINE), reply_to=address)
                is_served(host, line)
        # By now it is not heard for a while; it is only itself that it has harmed.
        until(lambda: counted(told, "dropped_harmful_address"), "it is counted")
        until(lambda: counted(told, "dropped_too_often"), "it is not heard")
    is_served(host, line)
    assert {it["pid"] for it in told.site.reader.key_servers().values()} == before


@pytest.mark.parametrize("queue", ["requests", "events.work", "audit", "dead", "clients.client-18"])
def test_no_answer_goes_to_a_queue_that_is_not_the_clients(
    host: Host, line: Line, admin: Any, queue: str
) -> None:
    namespace = host.made.site.namespace
    name = f"{namespace}.{queue}"
    if queue.startswith("clients"):
        admin.queue_declare(name, auto_delete=False)
    unheard = [host.request(MINE), host.request(MINE, reply_to=name)]
    for it in unheard:
        line.send(it, reply_to=name)
    is_served(host, line)
    assert [line.answers_to(it) for it in unheard] == [[], []]
    if queue.startswith("clients"):
        assert admin.queue_declare(name, passive=True).message_count == 0
        admin.queue_delete(name)


def test_what_goes_to_ones_own_queue_goes_there_even_if_there_is_none(
    host: Host, line: Line, admin: Any
) -> None:
    own = f"{host.made.site.namespace}.clients.{host.name}/0"
    line.send(host.request(MINE, reply_to=own))
    is_served(host, line)
    admin.queue_declare(own, auto_delete=False)
    request = host.request(MINE, reply_to=own)
    line.send(request)
    got = until(lambda: admin.basic_get(own, no_ack=True), "it is there")
    body = got.body.encode() if isinstance(got.body, str) else bytes(got.body)
    assert host.key_in(Answer(body, dict(got.properties)), request)
    admin.queue_delete(own)


# --- the broker's administrator ----------------------------------------------------------------


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


# --- floods ---------------------------------------------------------------------------------


def test_a_flood_of_bad_signatures_leaves_honest_clients_served(
    told: Delegation, host: Host, line: Line, other: Host
) -> None:
    ends, sent = Event(), [0]

    def flood() -> None:
        with lined(other) as own:
            bad = other.request(MINE)
            headers = {SIGNATURE_HEADER: "A" * 86 + "=="}
            properties = {**bad.properties(other.name), "application_headers": headers}
            while not ends.is_set():
                for _ in range(100):
                    own.say(bad.body, **properties)
                sent[0] += 100

    flooding = Thread(target=flood)
    flooding.start()
    took = []
    try:
        for _ in range(HONEST):
            request, since = host.request(MINE), monotonic()
            assert host.key_in(line.ask(request), request)
            took.append(1e3 * (monotonic() - since))
    finally:
        ends.set()
        flooding.join(30)
    took.sort()
    tell(
        f"beside {sent[0]:,} badly signed requests in {sum(took) / 1e3:.1f} s, {HONEST} honest ones"
        f" are answered: median {took[HONEST // 2]:.0f} ms, worst {took[-1]:.0f} ms"
    )
    is_served(host, line)


def test_a_client_that_never_reads_keeps_nobody_from_its_key(
    host: Host, line: Line, other: Host
) -> None:
    with lined(other) as own:
        # Its answers pile up behind a socket that it does not read.
        asked = 0
        for _ in range(900):
            own.send(other.request(THEIRS))
            asked += 1
        for _ in range(10):
            is_served(host, line)
        tell(f"beside {asked} requests whose answers nobody takes, 10 honest ones are answered")


def test_many_that_wait_for_their_grants_leave_others_served(
    host: Host, line: Line, other: Host
) -> None:
    with lined(other) as own:
        for number in range(300):
            own.send(other.request(f"no-such-{number}"))
        took = []
        for _ in range(HONEST):
            request, since = host.request(MINE), monotonic()
            assert host.key_in(line.ask(request), request)
            took.append(1e3 * (monotonic() - since))
        took.sort()
        own.pump(1)
        told = [it.word for it in own.answers]
    tell(f"beside 100 that wait: median {took[HONEST // 2]:.0f} ms, worst {took[-1]:.0f} ms")
    assert set(told) <= {"try-later"}
