"""RabbitMQ over TLS: who is believed, and that nothing else changes."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import pytest

from kmworker.bus.amqp.link import Link
from kmworker.client import Producer as EventProducer
from kmworker.client import VolumeCreated
from kmworker.domain.message import Confirm, Outgoing
from kmworker.errors import BrokerUnavailable
from kmworker.settings import BrokerSettings, Settings
from tests.integration.bus.conftest import NewBus, Producer, local_port, take
from tests.integration.running import running, settings_for
from tests.kit.polling import until
from tests.kit.servers import FAIR, Proxy, RabbitMQ, StoreServer, Weather
from tests.kit.servers.certificates import Authority, Certificate

# With payloads up to here, RabbitMQ takes them apart into several frames of 128 KiB.
LARGE_BYTES = 400_000


@pytest.fixture(scope="session")
def rabbitmq(roomy_rabbitmq: RabbitMQ) -> RabbitMQ:
    """A broker that takes larger messages than the shipped settings let through."""
    return roomy_rabbitmq


def linked(url: str) -> Link:
    """A link that tries once."""
    return Link(BrokerSettings(url=url), "tls")


def by_certificate(broker: RabbitMQ, certificate: Certificate) -> str:
    """A URL without a user."""
    return broker.tls_url_of(None, ssl_certfile=certificate.path, ssl_keyfile=certificate.key_path)


@pytest.fixture
def proxy(rabbitmq: RabbitMQ) -> Iterator[Proxy]:
    """A network between us and the TLS port."""
    with closing(Proxy(rabbitmq.tls_port, Random(1))) as it:
        yield it


# --- who is believed --------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_broker_is_believed_by_name_and_by_address(rabbitmq: RabbitMQ, host: str) -> None:
    link = linked(rabbitmq.tls_url_of("worker", host=host))
    link.open()
    assert link.connection.transport.sock.version() == "TLSv1.3"
    link.close()


def test_a_certificate_for_other_hosts_is_refused_and_says_so(rabbitmq: RabbitMQ) -> None:
    # Another way to write 127.0.0.1, so the same broker answers.
    link = linked(rabbitmq.tls_url_of("worker", host="127.1"))
    with pytest.raises(BrokerUnavailable, match=r"not trusted: Hostname mismatch.*'127\.1'"):
        link.open()
    assert not link.is_open


def test_an_authority_that_we_did_not_name_is_not_believed(
    rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    other = rabbitmq.tls_url_of("worker", ssl_ca_certs=Authority(tmp_path / "other").path)
    systems = rabbitmq.tls_url_of("worker").partition("?")[0]
    for url in (other, systems):
        with pytest.raises(BrokerUnavailable, match="certificate is not trusted") as caught:
            linked(url).open()
        assert str(urlsplit(url).password) not in str(caught.value)


def test_a_port_without_tls_is_an_outage(rabbitmq: RabbitMQ) -> None:
    with pytest.raises(BrokerUnavailable, match="SSL"):
        linked(rabbitmq.tls_url_of("worker", port=rabbitmq.port)).open()


def test_files_are_read_anew_for_each_connection(rabbitmq: RabbitMQ, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    trusted = rabbitmq.authority.path.read_bytes()
    path.write_bytes(trusted)
    link = linked(rabbitmq.tls_url_of("worker", ssl_ca_certs=path))
    path.unlink()
    with pytest.raises(BrokerUnavailable, match=r"ca\.pem: No such file"):
        link.open()
    path.write_bytes(Authority(tmp_path / "other").path.read_bytes())
    with pytest.raises(BrokerUnavailable, match="not trusted"):
        link.open()
    path.write_bytes(trusted)
    link.open()
    link.close()


def test_who_has_a_certificate_and_names_no_user_is_known_by_it(rabbitmq: RabbitMQ) -> None:
    link = linked(by_certificate(rabbitmq, rabbitmq.authority.issue("worker")))
    link.open()
    link.close()
    # Were it not by certificate, this one would be let in as the worker, too.
    stranger = linked(by_certificate(rabbitmq, rabbitmq.authority.issue("stranger")))
    with pytest.raises(BrokerUnavailable, match="EXTERNAL"):
        stranger.open()


def test_a_certificate_that_the_broker_does_not_trust_is_an_outage(
    rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "other").issue("worker")
    with pytest.raises(BrokerUnavailable):
        linked(by_certificate(rabbitmq, stranger)).open()


# --- and then ---------------------------------------------------------------------


@pytest.fixture
def settings(
    rabbitmq: RabbitMQ, redis_server: StoreServer, tmp_path: Path, namespace: str, prefix: str
) -> Settings:
    """An installation whose broker is reached by TLS."""
    broker, store = rabbitmq.tls_url_of("worker", namespace), redis_server.url_of("worker", prefix)
    return settings_for(tmp_path, broker=broker, namespace=namespace, store=store, prefix=prefix)


def test_a_worker_handles_events_of_all_sizes(
    settings: Settings, producer: Producer, rabbitmq: RabbitMQ, namespace: str
) -> None:
    url = rabbitmq.tls_url_of("producer", namespace)
    with running(settings), EventProducer(url, event_source="/tls", namespace=namespace) as client:
        heard = producer.subscribe(producer.topology.assignments)
        client.publish(*(VolumeCreated(project_id="p", volume_id=f"v{n}") for n in range(300)))
        for number in range(20):
            producer.publish(_large_event(number))
        until(lambda: _count(producer, heard) == 320, "all are announced")
    assert _count(producer, producer.topology.work) == 0
    assert _count(producer, producer.topology.dead) == 0


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def test_bodies_of_many_records_come_through_a_network_that_cuts_them(
    new_bus: NewBus, rabbitmq: RabbitMQ, producer: Producer, proxy: Proxy, namespace: str
) -> None:
    bus = new_bus(url=rabbitmq.tls_url_of("worker", namespace, host="127.0.0.1", port=proxy.port))
    bus.open()
    draw = Random(2)
    sent = [draw.randbytes(size) for size in (0, 1, 16_383, 16_384, 16_385, 131_072, LARGE_BYTES)]
    proxy.change(Weather(slice_bytes=5_000))
    for body in sent:
        producer.publish(body)
    received = take(bus, len(sent))
    assert [it.original.digest for it in received] == [_digest(it) for it in sent]
    dead = producer.topology.dead
    confirms = bus.send([Outgoing(dead, "key", body, {}) for body in sent]).result()
    assert confirms == [Confirm.STORED] * len(sent)
    for body in sent:
        # py-amqp makes text of what happens to be some.
        came = producer.get(dead).body
        assert (came.encode() if isinstance(came, str) else came) == body
    bus.acknowledge(received)
    assert bus.counts().work == 0
    assert proxy.largest_piece_bytes <= 5_000


def test_a_connection_that_is_cut_anywhere_is_lost_and_made_anew(
    new_bus: NewBus, rabbitmq: RabbitMQ, producer: Producer, proxy: Proxy, namespace: str
) -> None:
    bus = new_bus(url=rabbitmq.tls_url_of("worker", namespace, host="127.0.0.1", port=proxy.port))
    bus.open()
    proxy.change(Weather(cut_within_bytes=50_000))
    producer.publish(b"x" * LARGE_BYTES)
    with pytest.raises(BrokerUnavailable):
        take(bus, 1)
    proxy.change(FAIR)
    bus.open()
    (received,) = take(bus, 1)
    assert received.original.digest == _digest(b"x" * LARGE_BYTES)


def test_it_beats_and_leaves_in_good_order(rabbitmq: RabbitMQ) -> None:
    link = linked(rabbitmq.tls_url_of("worker"))
    link.open()
    for _ in range(3):
        link.connection.send_heartbeat()
        link.tick()
    link.connection.channel().close()
    port = local_port(link)
    link.close()
    said = until(lambda: _said_at_the_end(rabbitmq, port), "the broker has seen the end")
    # "client unexpectedly closed TCP connection" is a warning.
    assert "[info]" in said


def _count(producer: Producer, queue: str) -> int:
    found: int = producer.channel.queue_declare(queue, passive=True).message_count
    return found


def _large_event(number: int) -> bytes:
    """An event of nearly 64 KiB, which the contract allows."""
    data = {"project_id": "p", "volume_id": f"large{number}"}
    document = {"specversion": "1.0", "id": str(number), "source": "/tls", "type": "volume-created"}
    return json.dumps({**document, "data": data}).encode().ljust(64_000 - number)


def _said_at_the_end(broker: RabbitMQ, port: int) -> str | None:
    lines = broker.log_path.read_text(errors="replace").splitlines()
    words = "closing AMQP connection", f"127.0.0.1:{port} ->"
    return next((line for line in lines if all(word in line for word in words)), None)
