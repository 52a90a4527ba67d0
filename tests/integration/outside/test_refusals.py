"""Every kind of bad input, one at a time: refused for the right reason, and nothing else."""

import json
from typing import Any
from uuid import uuid4

import pytest

from tests.integration.outside.conftest import Running
from tests.kit.outside.check_letters import one_letter_problems
from tests.kit.outside.heard import Delivery
from tests.kit.outside.history import history
from tests.kit.outside.mischief import BAD, Bad, padded
from tests.kit.outside.specimens import REPLICA, SNAPSHOT, VOLUME, edited, encoded, specimen
from tests.kit.outside.stage import performed
from tests.kit.outside.words import BODY_LIMIT_BYTES, Event, Item, Message
from tests.kit.polling import none_of, until


def bad_name(bad: Bad) -> str:
    return bad.name


@pytest.mark.parametrize("bad", BAD, ids=bad_name)
def test_bad_input_is_dead_lettered_for_its_reason(patient: Running, bad: Bad) -> None:
    nonce = uuid4().hex
    message = bad.make(nonce)
    with patient.site.client() as client:
        client.publish(message)
        until(lambda: client.letters, f"{bad.name} is refused", between=client.pump)
        none_of(one_letter_problems(client.letters[0], bad.refusal(nonce), message))
        assert not client.assignments


def test_the_worker_goes_on_after_all_of_it(patient: Running, project: str) -> None:
    good = Event(Item(project, "volume", "v"), "good", "/after")
    with patient.site.client() as client:
        for bad in BAD:
            client.publish(bad.make(uuid4().hex))
        # Only then is another client there, which is to hear of no refusal.
        until(lambda: len(client.letters) == len(BAD), "all are refused", between=client.pump)
        with performed(patient.site, [good]):
            pass


def test_the_headers_of_binary_mode_are_named_for_what_they_are(patient: Running) -> None:
    data = json.dumps({"project_id": "p1", "volume_id": uuid4().hex}).encode()
    headers = (("cloudEvents:specversion", "1.0"), ("cloudEvents:type", VOLUME))
    with patient.site.client() as client:
        client.publish(Message(data, VOLUME, "application/json", headers=headers))
        until(lambda: client.letters, "it is refused", between=client.pump)
        detail = client.letters[0].headers["x-kmworker-detail"]
        assert detail.startswith("CloudEvents' binary mode is not taken: ")


def test_a_producer_hears_of_its_refusals_on_a_queue_of_its_own(patient: Running) -> None:
    with patient.site.client() as client:
        own: list[Delivery] = []
        queue = f"{patient.site.namespace}.sub.refusals"
        # That is the administrator's to declare and to bind: see config/rabbitmq/README.md.
        channel = client.admin.channel()
        channel.queue_declare(queue, auto_delete=True)
        channel.queue_bind(queue, f"{patient.site.namespace}.dead", "malformed.snapshot-taken")
        client.consume("subscriber", queue, own.append)
        for type_ in (VOLUME, SNAPSHOT, REPLICA):
            event = edited(specimen(type_, uuid4().hex), ("data", "project_id"), "")
            client.publish(encoded(event))
        until(lambda: len(client.letters) == 3, "three letters", between=client.pump)
        until(lambda: own, "one of them on our own queue", between=client.pump)
        assert len(own) == 1


def _legal() -> dict[str, Message]:
    """Input at the very edge of what is allowed."""

    def volume() -> dict[str, Any]:
        return specimen(VOLUME, uuid4().hex)

    def with_data(field: str, value: object) -> Message:
        return encoded(edited(volume(), ("data", field), value))

    def with_attribute(name: str, value: object) -> Message:
        return encoded(edited(volume(), (name,), value))

    return {
        "exactly-64-kib": padded(encoded(volume()), BODY_LIMIT_BYTES),
        "no-content-type": encoded(volume(), content_type=None),
        "json-content-type": encoded(volume(), content_type="application/json"),
        "content-type-with-parameters": encoded(
            volume(), content_type="application/cloudevents+json; charset=utf-8"
        ),
        "the-shortest-id": with_data("volume_id", uuid4().hex[0]),
        "the-longest-id": with_data("volume_id", uuid4().hex + "/" * 223),
        "an-id-of-all-characters": with_data(
            "volume_id", uuid4().hex + "!#$%&'()*+,-./:;<=>?@[]^_`|~"
        ),
        "the-longest-project": with_data("project_id", uuid4().hex + "-" * 96),
        "a-project-of-all-characters": with_data("project_id", ".-_:@+~=" + uuid4().hex),
        "the-longest-volume-type": with_data("volume_type", "t" * 255),
        "a-volume-type-with-umlauts": with_data("volume_type", "schl\u00fcssel \u2116 7"),
        "a-time-with-an-offset": with_attribute("time", "2026-11-23T17:00:00.25+01:00"),
        "null-as-time": with_attribute("time", None),
        "an-unknown-attribute": with_attribute("traceparent", "00-0af7-b7ad-01"),
        "null-as-unknown-attribute": with_attribute("dataschema", None),
        "notes-of-its-own": with_data("extra", {"a": [1, 2.5, None, True]}),
        "a-whole-number-with-a-fraction": with_data("size_bytes", 1024.0),
        "null-as-notes": with_data("extra", None),
        "the-longest-event-id": with_attribute("id", "~" * 255),
        "an-odd-event-id": with_attribute("id", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
        "the-longest-source": with_attribute("source", "/" * 255),
        "a-source-with-umlauts": with_attribute("source", "/z\u00fcrich/\u2116"),
        "an-unheeded-request": with_data("disposition", "reuse"),
        "a-big-size": with_data("size_bytes", 2**53 + 1),
        "an-image-by-its-project": with_data(
            "source", {"kind": "image", "id": "debian-12", "project_id": "images"}
        ),
        "an-id-that-looks-like-an-option": with_data("volume_id", "--" + uuid4().hex),
        "a-first-replica": encoded(specimen(REPLICA, uuid4().hex)),
    }


LEGAL = _legal()


@pytest.mark.parametrize("message", LEGAL.values(), ids=LEGAL)
def test_legal_input_is_assigned(patient: Running, message: Message) -> None:
    with patient.site.client() as client:
        client.publish(message)
        until(lambda: client.assignments or client.letters, "an answer", between=client.pump)
        assert not client.letters, client.letters[0].headers
        event = json.loads(message.body)
        cause = client.assignments[0].parsed()["data"]["cause"]
        assert cause == {name: event[name] for name in ("id", "source", "type")}


def test_conflicts_change_nothing(patient: Running, project: str) -> None:
    volume, other = Item(project, "volume", "v"), Item(project, "volume", "w")
    snapshot = Item(project, "snapshot", "s")
    first = [Event(volume, "1", "/a"), Event(other, "2", "/a"), Event(snapshot, "3", "/a", volume)]
    later = [
        Event(snapshot, "4", "/a", other),
        Event(volume, "5", "/a", other),
        Event(volume, "6", "/a", Item(project, "image", "i")),
        Event(other, "7", "/b", Item("elsewhere", "volume", "never-heard-of")),
    ]
    assert len(history(first, later).outlook.refused) == 4
    with performed(patient.site, first, later):
        pass
