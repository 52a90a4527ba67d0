"""Dead letters: the original, with a reason beside it, and nothing that could lose it."""

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmworker.domain.message import Digest, Original, Outgoing
from kmworker.errors import Reason
from kmworker.wire.dead_letters.reading import read_dead_letter
from tests.kit.dead_letters import BODY, as_delivered, dead_letter_of

DETAIL = "volume:v1 is already assigned from no source"


def dead(
    properties: dict[str, Any] | None = None,
    *,
    body: bytes = BODY,
    routing_key: str = "volume-created",
    **said: Any,
) -> Outgoing:
    original = Original(body, routing_key, properties or {})
    said.setdefault("attempts", 3)
    return dead_letter_of(original, **{"detail": DETAIL, **said})


def headers_of(message: Outgoing) -> dict[str, Any]:
    headers: dict[str, Any] = message.properties["application_headers"]
    return headers


def test_a_dead_letter_says_what_the_contract_says() -> None:
    original: dict[str, Any] = {
        "content_type": "application/json; charset=utf-8",
        "content_encoding": "identity",
        "correlation_id": "c-1",
        "reply_to": "answers",
        "timestamp": 1795449600,
        "type": "of-the-producer",
        "app_id": "cinder",
        "cluster_id": "x",
        "priority": 3,
        "delivery_mode": 1,
        "message_id": "the-producers",
        "application_headers": {"tenant": "2f1d", "nested": {"a": [1, None]}},
    }
    message = dead(original)
    assert message.exchange == "kmworker.dead"
    assert message.routing_key == "conflict.volume-created"
    assert message.body == BODY
    assert message.properties == {
        **original,
        "delivery_mode": 2,
        "message_id": "6ac6608157f7d04df47ffa74540bf1d91e83f906cbab57e1d92655252d17e940",
        "application_headers": {
            "tenant": "2f1d",
            "nested": {"a": [1, None]},
            "x-kmworker-reason": "conflict",
            "x-kmworker-detail": "volume:v1 is already assigned from no source",
            "x-kmworker-event-id": "6d1c",
            "x-kmworker-event-type": "volume-created",
            "x-kmworker-routing-key": "volume-created",
            "x-kmworker-dead-at": "2026-11-23T16:00:00.000Z",
            "x-kmworker-user": "",
            "x-kmworker-attempts": 3,
        },
    }


@pytest.mark.parametrize("reason", Reason)
def test_the_reason_is_the_first_word_of_the_routing_key(reason: Reason) -> None:
    message = dead(reason=reason)
    assert message.routing_key == f"{reason.value}.volume-created"
    assert headers_of(message)["x-kmworker-reason"] == reason.value


def test_an_event_that_could_not_be_read_has_no_id_and_an_unknown_type() -> None:
    message = dead(event_id="", event_type="unknown")
    assert message.routing_key == "conflict.unknown"
    assert headers_of(message)["x-kmworker-event-id"] == ""
    assert headers_of(message)["x-kmworker-event-type"] == "unknown"


@pytest.mark.parametrize("name", ["user_id", "expiration"])
def test_properties_that_the_broker_would_act_on_are_taken_off(name: str) -> None:
    message = dead({name: "1", "app_id": "cinder"})
    assert name not in message.properties
    assert message.properties["app_id"] == "cinder"


@pytest.mark.parametrize(
    "name",
    [
        "CC", "BCC", "x-death", "x-first-death-queue", "x-first-death-reason",
        "x-first-death-exchange", "x-last-death-queue", "x-last-death-reason",
        "x-last-death-exchange", "x-delivery-count", "x-acquired-count",
    ],
)  # fmt: skip
def test_headers_that_the_broker_would_act_on_are_taken_off(name: str) -> None:
    message = dead({"application_headers": {name: ["elsewhere"], "mine": 1}})
    assert name not in headers_of(message)
    assert headers_of(message)["mine"] == 1


@pytest.mark.parametrize("name", ["cc", "x-deathly", "X-Death", "delivery-count", "", b"\xff"])
def test_other_headers_stay(name: object) -> None:
    assert headers_of(dead({"application_headers": {name: "x"}}))[name] == "x"  # type: ignore[index]


@pytest.mark.parametrize("headers", [None, {}], ids=["null", "empty"])
def test_a_message_without_headers_gets_ours(headers: dict[str, Any] | None) -> None:
    assert len(headers_of(dead({"application_headers": headers}))) == 8
    assert len(headers_of(dead())) == 8


def test_what_an_earlier_death_or_a_forger_said_is_replaced() -> None:
    said = {"x-kmworker-reason": "malformed", "x-kmworker-attempts": 99, "x-kmworker-detail": "-"}
    headers = headers_of(dead({"application_headers": said}))
    assert headers["x-kmworker-reason"] == "conflict"
    assert headers["x-kmworker-attempts"] == 3
    assert headers["x-kmworker-detail"] == DETAIL


def test_nothing_that_a_producer_wrote_in_our_name_is_in_the_dead_letter() -> None:
    digest = hashlib.sha256(b"another's").hexdigest()
    forged = {"x-kmworker-body-sha256": digest, "x-kmworker-body-bytes": 7, "x-kmworker-new": 1}
    message = dead({"application_headers": {**forged, "x-kmworkers": "kept"}}, body=b"")
    headers = headers_of(message)
    assert not forged.keys() & headers.keys()
    assert headers["x-kmworkers"] == "kept"
    # Were it the other's, whoever discards this dead letter would discard that one, too.
    read = read_dead_letter(as_delivered(message))
    assert read.message_id == hashlib.sha256(b"").hexdigest()
    assert not read.obstacle


@pytest.mark.parametrize(
    ("earlier", "shown"),
    [
        (1, 4), (7, 10), (999_997, 1_000_000), (999_998, 1_000_000), (2**62, 1_000_000),
        (0, 3), (-5, 3), (True, 3), ("9", 3), (9.0, 3), (None, 3), ([9], 3),
    ],
)  # fmt: skip
def test_a_replayed_events_attempts_go_on_counting_within_bounds(
    earlier: object, shown: int
) -> None:
    headers = headers_of(dead({"application_headers": {"x-kmworker-earlier-attempts": earlier}}))
    assert headers["x-kmworker-attempts"] == shown
    # Counted in; were it kept, the next replay would count it twice.
    assert "x-kmworker-earlier-attempts" not in headers


def test_the_originals_properties_are_not_changed() -> None:
    properties = {"expiration": "1", "application_headers": {"CC": ["x"]}, "delivery_mode": 1}
    dead(properties)
    assert properties == {
        "expiration": "1",
        "application_headers": {"CC": ["x"]},
        "delivery_mode": 1,
    }


# --- limits -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a" * 255, "a" * 255),
        ("a" * 256, "a" * 255),
        ("é" * 127 + "a", "é" * 127 + "a"),
        ("é" * 128, "é" * 127),
        ("a" + "é" * 127, "a" + "é" * 127),
        ("a" * 254 + "é", "a" * 254),
        ("a" * 253 + "名", "a" * 253),
        ("a" * 252 + "🔑", "a" * 252),
        ("a" * 251 + "🔑", "a" * 251 + "🔑"),
        ("\ud800", "?"),
    ],
    ids=[
        "255 bytes", "256 bytes", "255 bytes in two", "256 bytes in two", "one and two",
        "half a letter", "a third of a letter", "three quarters of a letter", "just fits",
        "a lone surrogate",
    ],
)  # fmt: skip
def test_a_header_is_cut_at_255_bytes_between_letters(text: str, expected: str) -> None:
    headers = headers_of(dead(reason=Reason.INTERNAL, detail=text, routing_key=text))
    assert headers["x-kmworker-detail"] == expected
    assert headers["x-kmworker-routing-key"] == expected


@given(st.text(st.characters()), st.text(st.characters()), st.text(st.characters()))
def test_every_header_of_ours_fits_whatever_the_event_says(
    detail: str, routing_key: str, event_id: str
) -> None:
    message = dead(detail=detail, routing_key=routing_key, event_id=event_id)
    for value in headers_of(message).values():
        assert isinstance(value, int) or len(value.encode()) <= 255


def test_a_type_too_long_for_a_routing_key_is_unknown_there() -> None:
    longest = "t" * (255 - len("conflict."))
    assert dead(event_type=longest).routing_key == f"conflict.{longest}"
    message = dead(event_type=longest + "t")
    assert message.routing_key == "conflict.unknown"
    assert headers_of(message)["x-kmworker-event-type"] == longest + "t"


def test_headers_too_large_to_be_written_are_left_off_and_ours_are_there() -> None:
    headers = headers_of(dead({"application_headers": {"x": [7] * 31_000, "tenant": "2f1d"}}))
    assert headers["tenant"] == "2f1d"
    assert headers["x-kmworker-left-off"] == "x"
    assert headers["x-kmworker-reason"] == "conflict"
    assert len(headers) == 10


def test_a_body_that_was_too_large_to_be_held_is_its_digest_and_length() -> None:
    digest = hashlib.sha256(b"large").hexdigest()
    original = Original(b"", "volume-created", {"type": "t"}, Digest(digest, 5_000_000))
    message = dead_letter_of(original, event_id="", event_type="unknown")
    assert message.body == b""
    assert message.properties["message_id"] == digest
    assert headers_of(message)["x-kmworker-body-sha256"] == digest
    assert headers_of(message)["x-kmworker-body-bytes"] == 5_000_000
    assert "x-kmworker-body-bytes" not in headers_of(dead(body=b""))


def test_a_dead_letter_names_whose_event_it_is() -> None:
    assert headers_of(dead(user="cinder"))["x-kmworker-user"] == "cinder"
    assert headers_of(dead())["x-kmworker-user"] == ""


@pytest.mark.parametrize("user", [None, "mallory"])
def test_whose_event_it_is_never_comes_from_what_its_sender_wrote_there(user: str | None) -> None:
    forged = {"application_headers": {"x-kmworker-user": "cinder"}, "user_id": "mallory"}
    message = dead(forged, user=user)
    assert headers_of(message)["x-kmworker-user"] == (user or "")
    assert "user_id" not in message.properties


# --- repeats ----------------------------------------------------------------------


def test_equal_bodies_have_equal_message_ids_whatever_else_differs() -> None:
    one = dead({"message_id": "1"}, routing_key="a")
    two = dead({"message_id": "2"}, routing_key="b", reason=Reason.INTERNAL)
    assert one.properties["message_id"] == two.properties["message_id"]


def test_other_bodies_have_other_message_ids() -> None:
    ids = {dead(body=body).properties["message_id"] for body in (BODY, BODY + b" ", b"", b"\xff")}
    assert len(ids) == 4


def test_bytes_that_are_no_text_are_kept_as_they_are() -> None:
    assert dead(body=b"\xff\0").body == b"\xff\0"
