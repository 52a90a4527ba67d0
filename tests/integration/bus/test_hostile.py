"""Messages that no honest producer sends, through a whole worker: one letter each, no harm."""

import json
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from struct import pack
from typing import Any

import pytest

from kmworker.bus.amqp import header_frame
from kmworker.domain.message import LEFT_OFF
from kmworker.domain.model import Item, Kind
from kmworker.settings import Settings, WaitingSettings
from kmworker.store import records
from tests.integration.bus.conftest import Producer
from tests.integration.running import running
from tests.kit.amqp_frames import Encoded, field, grown_headers, headers
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ, StoreServer
from tests.kit.servers.accounts import ADMIN_USER
from tests.kit.simulator.events import Sent, snapshot, volume

JSON = "application/cloudevents+json"


@pytest.fixture(scope="session")
def rabbitmq(roomy_rabbitmq: RabbitMQ) -> RabbitMQ:
    """A broker that takes larger messages than the shipped settings let through."""
    return roomy_rabbitmq


class Scene:
    """A worker, whoever publishes to it, and what comes of it."""

    def __init__(self, producer: Producer) -> None:
        self.producer = producer
        self.letters = producer.subscribe(producer.topology.dead)
        self.announced = producer.subscribe(producer.topology.assignments)

    def publish(self, event: Sent, **properties: Any) -> None:
        found = {"content_type": JSON, **properties}
        self.producer.publish(event.body, event.routing_key, **found)

    def letter(self) -> Any:
        return until(lambda: self.producer.get(self.letters), "a dead letter comes")

    def announcement(self) -> Any:
        message = until(lambda: self.producer.get(self.announced), "an announcement comes")
        return json.loads(message.body)

    def assert_well(self) -> None:
        """The worker goes on, and nothing is left behind or said twice."""
        self.publish(volume("after"))
        assert self.announcement()["data"]["item"]["id"] == "after"
        assert self.producer.get(self.letters) is None
        channel = self.producer.channel
        queue = self.producer.topology.work
        until(
            lambda: channel.queue_declare(queue, passive=True).message_count == 0,
            "nothing is left in the queue",
        )


@pytest.fixture
def scene(settings: Settings, producer: Producer) -> Iterator[Scene]:
    with running(settings):
        yield Scene(producer)


def test_a_routing_key_that_is_not_utf_8(scene: Scene) -> None:
    event = volume("v")
    scene.producer.publish(event.body, b"volume-\xff\xfe", content_type=JSON)
    letter = scene.letter()
    assert letter.delivery_info["routing_key"] == "malformed.volume-created"
    assert letter.headers["x-kmworker-routing-key"] == "volume-\ufffd\ufffd"
    assert letter.body == event.body
    scene.assert_well()


def test_headers_that_are_not_utf_8(scene: Scene) -> None:
    odd = {b"x-\xff\xfe": True, "x-bytes": b"\xff\xfe", "x-plain": "kept"}
    scene.publish(volume("v"), application_headers=odd)
    assert scene.announcement()["data"]["item"]["id"] == "v"
    scene.producer.publish(b"garbage", application_headers=odd)
    letter = scene.letter()
    assert letter.headers["x-plain"] == "kept"
    assert letter.headers["x-bytes"] == b"\xff\xfe"
    assert letter.headers[b"x-\xff\xfe"] is True
    assert letter.headers["x-kmworker-reason"] == "malformed"
    scene.assert_well()


def test_a_content_type_that_is_not_utf_8(scene: Scene) -> None:
    scene.producer.publish(b"garbage", content_type=b"\xff\xfe")
    assert scene.letter().body == b"garbage"
    scene.assert_well()


# As RabbitMQ reads them, which differs from the specification.
EVERY_TYPE = {
    b"t": (b"\1", True),
    b"b": (b"\xff", -1),
    b"B": (b"\xff", 255),
    b"s": (b"\xff\xff", -1),
    b"u": (b"\xff\xff", 65_535),
    b"I": (b"\x80\0\0\0", -(2**31)),
    b"i": (b"\xff\xff\xff\xff", 2**32 - 1),
    b"l": (b"\x80" + b"\0" * 7, -(2**63)),
    b"f": (pack(">f", 1.5), 1.5),
    b"d": (pack(">d", -2.25), -2.25),
    b"D": (b"\2" + pack(">i", -125), Decimal("-1.25")),
    b"S": (pack(">I", 3) + b"a\0\xff", b"a\0\xff"),
    b"x": (pack(">I", 3) + b"\0\xff\0", b"\0\xff\0"),
    b"T": (pack(">Q", 0), datetime(1970, 1, 1)),  # noqa: DTZ001  # as py-amqp reads it
    b"V": (b"", None),
    b"A": (pack(">I", 3) + b"Vt\1", [None, True]),
    b"F": (pack(">I", 4) + field(b"y", b"t", b"\0"), {"y": False}),
}


def test_every_header_type_that_the_broker_knows(scene: Scene) -> None:
    table = [field(b"x-" + kind, kind, value) for kind, (value, _read) in EVERY_TYPE.items()]
    scene.producer.channel.basic_publish(
        Encoded(b"garbage", headers(b"".join(table))),
        scene.producer.topology.events,
        "volume-created",
    )
    letter = scene.letter()
    found = {name: value for name, value in letter.headers.items() if len(name) == len("x-t")}
    assert found == {f"x-{kind.decode()}": read for kind, (_value, read) in EVERY_TYPE.items()}
    scene.assert_well()


def test_properties_that_would_undo_a_dead_letter(scene: Scene) -> None:
    scene.producer.publish(
        b"garbage",
        user_id=ADMIN_USER,
        expiration="60000",
        delivery_mode=1,
        priority=255,
        reply_to="amq.rabbitmq.reply-to.none",
        message_id="the-producers-own",
        timestamp=2**63 - 1,
        application_headers={
            "CC": ["elsewhere"],
            "BCC": ["secretly"],
            "x-death": [{"count": 7, "queue": scene.producer.topology.dead}],
            "x-first-death-queue": scene.producer.topology.dead,
            "x-delivery-count": 17,
        },
    )
    letter = scene.letter()
    properties = letter.properties
    assert "user_id" not in properties
    assert "expiration" not in properties
    assert properties["delivery_mode"] == 2
    assert properties["priority"] == 255
    assert not {"CC", "BCC", "x-death", "x-first-death-queue", "x-delivery-count"} & set(
        letter.headers
    )
    scene.assert_well()


def test_a_timestamp_beyond_63_bits_of_an_event_that_waits(
    scene: Scene, redis_server: StoreServer, prefix: str
) -> None:
    scene.publish(snapshot("s", "v"), timestamp=2**64 - 1)
    with redis_server.admin() as store:
        until(lambda: store.hlen(f"{prefix}:{{p1}}:waiting"), "the snapshot waits")
    scene.publish(volume("v"))
    assert {scene.announcement()["data"]["item"]["id"] for _ in range(2)} == {"v", "s"}
    scene.assert_well()


def test_headers_nearly_as_large_as_a_frame(scene: Scene) -> None:
    """A dead letter's own headers would not fit beside them, and the broker would hang up."""
    scene.producer.publish(b"garbage", application_headers={"x": "a" * 130_900, "y": 1})
    letter = scene.letter()
    assert letter.body == b"garbage"
    assert letter.headers["y"] == 1
    assert letter.headers[LEFT_OFF] == "x"
    scene.assert_well()


@pytest.mark.parametrize("number", [31_000, 8_000, 4_000])
def test_headers_that_grow_when_they_are_written(number: int, scene: Scene) -> None:
    scene.publish(volume("before"))
    scene.producer.channel.basic_publish(
        Encoded(b"not json", grown_headers(number)),
        scene.producer.topology.events,
        "volume-created",
    )
    letter = scene.letter()
    assert letter.body == b"not json"
    assert letter.headers["x-kmworker-reason"] == "malformed"
    assert letter.headers[LEFT_OFF] == "x"
    assert scene.announcement()["data"]["item"]["id"] == "before"
    scene.assert_well()


def test_a_message_that_stopped_a_worker_does_not_stop_the_next(
    settings: Settings, producer: Producer
) -> None:
    """As it is found in the queue by a worker that starts, after others have died of it."""
    odd = Encoded(b"not json", grown_headers())
    producer.channel.basic_publish(odd, producer.topology.events, "volume-created")
    for _ in range(3):
        message = producer.channel.basic_get(producer.topology.work)
        producer.channel.basic_reject(message.delivery_tag, requeue=True)
    scene = Scene(producer)
    with running(settings):
        assert scene.letter().headers[LEFT_OFF] == "x"
        scene.assert_well()


def test_what_was_parked_with_such_headers_comes_out_as_a_dead_letter(
    settings: Settings, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 0.1 parked them whole; at the deadline they struck."""
    event = snapshot("s", "never")
    short = settings.model_copy(update={"waiting": WaitingSettings(deadline_s=1)})
    with monkeypatch.context() as patch:
        patch.setattr(records, "bounded", lambda properties: properties)
        patch.setattr(header_frame, "MAX_PROPERTIES_BYTES", 65_536)
        with running(short) as (worker,):
            producer.channel.basic_publish(
                Encoded(event.body, grown_headers()), producer.topology.events, event.routing_key
            )
            until(lambda: worker._tally.totals["waiting"], "the snapshot waits")
    scene = Scene(producer)
    with running(settings.model_copy(update={"waiting": WaitingSettings(sweep_s=0.5)})):
        letter = scene.letter()
        assert letter.body == event.body
        assert letter.headers["x-kmworker-reason"] == "source-missing"
        assert letter.headers[LEFT_OFF] == "x"
        scene.assert_well()


@pytest.mark.parametrize("levels", [31, 200, 900, 5000])
def test_tables_in_tables_in_tables(levels: int, scene: Scene) -> None:
    """They are read recursively, and written more so."""
    table = b""
    for _ in range(levels):
        table = field(b"x", b"F", pack(">I", len(table)) + table)
    encoded = Encoded(b"garbage", headers(table))
    scene.producer.channel.basic_publish(encoded, scene.producer.topology.events, "volume-created")
    assert scene.letter().body == b"garbage"
    scene.assert_well()


def test_a_body_of_a_megabyte(scene: Scene) -> None:
    body = b"x" * 1_000_000
    scene.producer.publish(body)
    letter = scene.letter()
    # py-amqp gives an empty body as text.
    assert not letter.body
    assert "larger than" in letter.headers["x-kmworker-detail"]
    assert letter.headers["x-kmworker-body-bytes"] == len(body)
    assert letter.headers["x-kmworker-body-sha256"] == sha256(body).hexdigest()
    scene.assert_well()


def test_no_body_and_no_properties(scene: Scene) -> None:
    scene.producer.publish(b"")
    # py-amqp gives an empty body as text.
    assert not scene.letter().body
    scene.assert_well()


def test_hostile_events_that_wait_for_a_source_keep_what_stands_beside_them(scene: Scene) -> None:
    odd = {"x-bytes": b"\xff\xfe", "x-long": 2**40, "CC": ["volume-created"]}
    scene.publish(snapshot("s", "v"), application_headers=odd, expiration="3600000")
    scene.publish(volume("v"))
    found = [scene.announcement()["data"]["item"] for _ in range(2)]
    kinds = {Item("p1", Kind(item["kind"]), item["id"]).ref for item in found}
    assert kinds == {"volume:v", "snapshot:s"}
    scene.assert_well()
