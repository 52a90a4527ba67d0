"""Several brokers: when one is lost, the next one is used, and after the last the first again."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from kmworker.bus.rabbit import RabbitBus
from kmworker.client import Producer as ClientProducer
from kmworker.client import VolumeCreated
from kmworker.domain.message import Confirm, Outgoing
from kmworker.errors import BrokerUnavailable
from kmworker.settings.urls import redacted_url
from tests.integration.bus.conftest import NewBus, Producer, bodies, take
from tests.kit.outside.worker import Site
from tests.kit.outside.worker import Worker as WorkerProcess
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ, StoreServer
from tests.kit.servers.accounts import passwords
from tests.kit.servers.proxy import FAIR, Proxy, Weather

AWAY = Weather(refusing=True)


@pytest.fixture
def ways(rabbitmq: RabbitMQ) -> Iterator[tuple[Proxy, Proxy]]:
    """Two ways to one broker, as two nodes of a cluster have the same queues."""
    with closing(Proxy(rabbitmq.port)) as first, closing(Proxy(rabbitmq.port)) as second:
        yield first, second


@pytest.fixture
def urls(rabbitmq: RabbitMQ, ways: tuple[Proxy, Proxy], namespace: str) -> tuple[str, ...]:
    return tuple(rabbitmq.url_of("worker", namespace, port=way.port) for way in ways)


def lose(way: Proxy) -> None:
    way.change(AWAY)
    way.reset()


def reopen(bus: RabbitBus) -> None:
    """Try as a worker does, whose connections are both lost."""

    def is_open() -> bool:
        try:
            bus.tick()
            bus.open()
            bus.send([]).result()
            bus.tick()
        except BrokerUnavailable:
            return False
        return True

    until(is_open, "it is connected")


def test_events_go_on_by_the_next_broker_and_come_round_again(
    new_bus: NewBus, producer: Producer, ways: tuple[Proxy, Proxy], urls: tuple[str, ...]
) -> None:
    first, second = ways
    bus = new_bus(url=None, urls=urls)
    bus.open()
    assert (first.attempts, second.attempts) == (2, 0)
    for lost, used in ((first, second), (second, first), (first, second)):
        used.change(FAIR)
        lose(lost)
        producer.publish(b"event")
        before = used.attempts
        reopen(bus)
        delivered = take(bus, 1)
        assert bodies(delivered) == [b"event"]
        outgoing = Outgoing(producer.topology.assignments, "key", b"", {})
        assert bus.send([outgoing]).result() == [Confirm.UNROUTED]
        bus.acknowledge(delivered)
        # Both connections, and no more.
        assert used.attempts - before == 2


def test_a_broker_that_is_there_and_confirms_nothing_is_left_too(
    new_bus: NewBus, producer: Producer, ways: tuple[Proxy, Proxy], urls: tuple[str, ...]
) -> None:
    bus = new_bus(url=None, urls=urls, confirm_timeout_s=1.0)
    bus.open()
    ways[0].change(Weather(stalled=True))
    outgoing = Outgoing(producer.topology.assignments, "key", b"", {})
    with pytest.raises(BrokerUnavailable, match="not confirmed"):
        bus.send([outgoing]).result()
    reopen(bus)
    assert bus.send([outgoing]).result() == [Confirm.UNROUTED]
    assert ways[1].attempts == 2


@pytest.fixture
def site(  # noqa: PLR0917  # fixtures
    tmp_path: Path,
    rabbitmq: RabbitMQ,
    redis_server: StoreServer,
    namespace: str,
    prefix: str,
    ways: tuple[Proxy, Proxy],
) -> Site:
    ports = tuple(way.port for way in ways)
    site = Site(tmp_path, rabbitmq, redis_server, namespace, prefix, ways=ports)
    site.lay_keyring()
    return site


def test_worker_commands_and_clients_use_whichever_answers(
    site: Site, ways: tuple[Proxy, Proxy], rabbitmq: RabbitMQ
) -> None:
    worker = WorkerProcess(site)
    try:
        until(lambda: b"broker connected" in worker.log.read_bytes(), "it is connected")
        lose(ways[0])
        site.run("publish", "volume-created", "--project", "p", "--set", "volume_id=v1")
        until(lambda: site.reader.table("p", "items"), "the worker went on by the second")
        ways[0].change(FAIR)
        lose(ways[1])
        urls = [rabbitmq.url_of("producer", site.namespace, port=port) for port in site.ways[::-1]]
        with ClientProducer(urls, event_source="/t", namespace=site.namespace) as client:
            client.publish(VolumeCreated(project_id="p", volume_id="v2"))
        until(lambda: len(site.reader.table("p", "items")) == 2, "and came back to the first")
    finally:
        worker.process.terminate()
        worker.process.wait(30)
    log = worker.log.read_text()
    for way in ways:
        assert redacted_url(rabbitmq.url_of("worker", site.namespace, port=way.port)) in log
    assert passwords().of("rabbitmq", "worker") not in log


def test_naming_brokers_in_two_ways_is_refused_in_words(site: Site) -> None:
    one = {"KMWORKER_BROKER__URL": site.broker_url("worker")}
    both = replace(site, settings=one)
    for command, exit_code in ((("worker",), 2), (("doctor",), 1), (("dead", "list"), 2)):
        done = both.run(*command, exit_code=exit_code)
        told = done.stdout + done.stderr
        assert "broker.url is set, too: keep one of them" in told
        assert passwords().of("rabbitmq", "worker") not in told
