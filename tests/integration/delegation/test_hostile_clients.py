"""Clients that mean harm: with what is another's, with addresses, and by sheer number."""

from collections.abc import Callable, Iterator
from threading import Event, Thread
from time import monotonic
from typing import Any, Final
from uuid import uuid4

import amqp
import pytest

from kmworker.delegation.signing import SIGNATURE_HEADER
from kmworker.errors import Untrusted
from kmworker.wire.requests.request import DIRECT_REPLY
from tests.integration.delegation.neighbours import (
    MINE,
    OTHER_NODE,
    THEIRS,
    counted,
    is_served,
    tell,
)
from tests.kit.outside.asking import Answer, Host, Line, lined, second_client
from tests.kit.outside.delegating import NODE, Delegation, enrol
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ

HONEST: Final = 40


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
    told: Delegation, host: Host, line: Line, admin: Any, queue: str
) -> None:
    namespace = host.made.site.namespace
    name = f"{namespace}.{queue}"
    before = counted(told, "dropped_no_address")
    if queue.startswith("clients"):
        admin.queue_declare(name, auto_delete=False)
    unheard = [host.request(MINE), host.request(MINE, reply_to=name)]
    for it in unheard:
        line.send(it, reply_to=name)
    is_served(host, line)
    assert [line.answers_to(it) for it in unheard] == [[], []]
    # What went there nobody here would see: nothing did.
    until(lambda: counted(told, "dropped_no_address") >= before + 2, "both are counted")
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


@pytest.fixture
def crowd(told: Delegation, rabbitmq: RabbitMQ) -> Iterator[Host]:
    """A client of its own: how often it may ask is not shared with other tests."""
    options = ("--node", OTHER_NODE, "--project", "*")
    with second_client(told, rabbitmq, f"crowd-{uuid4().hex[:6]}", enrol, *options) as crowd:
        yield crowd


def test_a_client_that_never_reads_keeps_nobody_from_its_key(
    host: Host, line: Line, crowd: Host
) -> None:
    with lined(crowd) as own:
        # Its answers pile up behind a socket that it does not read.
        asked = 0
        for _ in range(900):
            own.send(crowd.request(THEIRS))
            asked += 1
        for _ in range(10):
            is_served(host, line)
        tell(f"beside {asked} requests whose answers nobody takes, 10 honest ones are answered")


def test_many_that_wait_for_their_grants_leave_others_served(
    host: Host, line: Line, crowd: Host
) -> None:
    with lined(crowd) as own:
        for number in range(300):
            own.send(crowd.request(f"no-such-{number}"))
        took = []
        for _ in range(HONEST):
            request, since = host.request(MINE), monotonic()
            assert host.key_in(line.ask(request), request)
            took.append(1e3 * (monotonic() - since))
        took.sort()
        # No more than so many of one client wait; the others are told at once.
        until(lambda: len(own.answers) >= 200, "200 are told", between=own.pump)
        told = [it.word for it in own.answers]
    tell(f"beside 100 that wait: median {took[HONEST // 2]:.0f} ms, worst {took[-1]:.0f} ms")
    assert set(told[:200]) == {"try-later"}
