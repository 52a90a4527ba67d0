"""Dead letters are read, chosen and made events again, whoever wrote them."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmworker.domain.message import Digest, Original
from kmworker.errors import Reason
from kmworker.wire.dead_letters.reading import (
    DeadLetter,
    Selection,
    moment_s,
    read_dead_letter,
    replayed,
)
from tests.kit.dead_letters import DEAD_AT, as_delivered, dead_letter_of

BODY = b'{"id":"e1","type":"volume-created"}'
DEAD_AT_S = 1_795_449_600.0
EVENTS = "kmworker.events"


def read_back(original: Original | None = None, **said: Any) -> DeadLetter:
    """A dead letter as a worker writes it and a person reads it."""
    return read_dead_letter(as_sent(original, **said))


def as_sent(original: Original | None = None, **said: Any) -> Original:
    said = {"event_id": "e1"} | said
    return as_delivered(dead_letter_of(original or Original(BODY, "volume-created", {}), **said))


def strangers(body: bytes = BODY, /, **headers: object) -> DeadLetter:
    named = {f"x-kmworker-{name.replace('_', '-')}": value for name, value in headers.items()}
    return read_dead_letter(Original(body, "any.key", {"application_headers": named}))


# --- reading -----------------------------------------------------------------------


def test_what_a_worker_wrote_is_read() -> None:
    dead = read_back(attempts=3)
    assert dead.message_id == hashlib.sha256(BODY).hexdigest()
    assert (dead.event_id, dead.event_type) == ("e1", "volume-created")
    assert (dead.reason, dead.detail, dead.attempts) == ("conflict", "why", 3)
    assert (dead.routing_key, dead.dead_at) == ("volume-created", DEAD_AT)
    assert dead.dead_at_s == DEAD_AT_S
    assert dead.obstacle == ""


@pytest.mark.parametrize("headers", [None, {}, {b"\xff": 1}, {"x-kmworker-reason": 5}])
def test_a_strangers_dead_letter_is_read_as_far_as_it_goes(headers: dict[str, Any] | None) -> None:
    dead = read_dead_letter(Original(BODY, "k", {"application_headers": headers}))
    assert (dead.event_id, dead.event_type) == ("e1", "volume-created")
    assert (dead.reason, dead.dead_at_s, dead.attempts) == ("", None, 0)
    assert dead.obstacle == "no worker wrote this dead letter: it has no x-kmworker-reason"


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", b"[]", b"7", b"{", b'{"id":7}', b"[" * 100_000, b'{"a":' + b"9" * 10_000 + b"}"],
)
def test_a_body_that_is_no_event_has_no_id(body: bytes) -> None:
    dead = strangers(body)
    assert (dead.event_id, dead.event_type) == ("", "")
    assert Selection(ids=[hashlib.sha256(body).hexdigest()]).matches(dead)


def test_a_body_of_megabytes_is_not_parsed() -> None:
    body = json.dumps({"id": "e1", "x": "x" * 1024 * 1024}).encode()
    assert strangers(body).event_id == ""


def test_half_a_character_can_be_printed() -> None:
    assert strangers(rb'{"id":"\ud800"}').event_id == "?"


@pytest.mark.parametrize(
    ("attempts", "read"), [(-1, 0), (True, 0), ("3", 0), (2**40, 1_000_000), (5, 5)]
)
def test_attempts_are_a_number_within_bounds(attempts: object, read: int) -> None:
    assert strangers(attempts=attempts).attempts == read


@given(
    st.dictionaries(
        st.sampled_from(
            ["reason", "detail", "event-id", "event-type", "routing-key", "dead-at", "attempts"]
        ).map("x-kmworker-{}".format),
        st.none() | st.integers() | st.text() | st.binary() | st.lists(st.text()),
    ),
    st.binary(),
)
def test_nothing_in_a_dead_letter_raises(headers: dict[str, object], body: bytes) -> None:
    dead = read_dead_letter(Original(body, "k", {"application_headers": headers, "message_id": 5}))
    Selection(ids=["x" * 12], since_s=0.0).matches(dead)
    dead.event_id.encode()
    dead.detail.encode()
    if not dead.obstacle:
        replayed(dead, EVENTS)


# --- choosing ----------------------------------------------------------------------


def test_a_dead_letter_is_found_by_each_of_its_ids() -> None:
    dead = read_back()
    digest = hashlib.sha256(BODY).hexdigest()
    for wanted in ("e1", digest, digest[:12], digest[:12].upper()):
        assert Selection(ids=[wanted]).matches(dead)
    for wanted in ("e", "e2", digest[:11], digest[1:13], digest + "0", ""):
        assert not Selection(ids=[wanted]).matches(dead)


def test_an_event_id_that_was_cut_is_found_by_all_of_it() -> None:
    long = "é" * 200
    body = json.dumps({"id": long}).encode()
    dead = read_back(Original(body, "volume-created", {}), event_id=long)
    headers = dead.original.properties["application_headers"]
    assert headers["x-kmworker-event-id"] == "é" * 127
    assert dead.event_id == long
    assert Selection(ids=[long]).matches(dead)
    assert Selection(ids=["é" * 127]).matches(dead)


def test_an_event_id_that_no_header_names_is_found_in_the_body() -> None:
    dead = read_back(event_id="", event_type="unknown")
    assert Selection(ids=["e1"]).matches(dead)
    # What the worker could not read stays unknown, so that both can be asked for.
    assert dead.event_type == "unknown"


def test_a_dead_letter_is_found_by_the_message_id_that_a_stranger_gave_it() -> None:
    dead = read_dead_letter(Original(BODY, "k", {"message_id": "theirs"}))
    assert Selection(ids=["theirs"]).matches(dead)
    assert dead.message_id == hashlib.sha256(BODY).hexdigest()


@pytest.mark.parametrize(
    ("selection", "meant"),
    [
        (Selection(), True),
        (Selection(reason="conflict"), True),
        (Selection(reason="malformed"), False),
        (Selection(event_type="volume-created"), True),
        (Selection(event_type="volume"), False),
        (Selection(since_s=DEAD_AT_S), True),
        (Selection(since_s=DEAD_AT_S + 0.001), False),
        (Selection(before_s=DEAD_AT_S), False),
        (Selection(before_s=DEAD_AT_S + 0.001), True),
        (Selection(since_s=DEAD_AT_S - 1, before_s=DEAD_AT_S + 1, reason="conflict"), True),
        (Selection(ids=["e1"], reason="malformed"), False),
        (Selection(ids=["e2"], reason="conflict"), False),
    ],
)
def test_a_dead_letter_is_meant_that_meets_all_that_is_given(
    selection: Selection, meant: bool
) -> None:
    assert selection.matches(read_back()) is meant


def test_a_dead_letter_without_a_time_is_never_within_one() -> None:
    assert not Selection(since_s=0.0).matches(strangers())
    assert not Selection(before_s=9e9).matches(strangers(dead_at="yesterday"))
    assert Selection().matches(strangers())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (DEAD_AT, DEAD_AT_S),
        ("2026-11-23T17:00:00+01:00", DEAD_AT_S),
        ("2026-11-23 16:00", DEAD_AT_S),
        ("2026-11-23", DEAD_AT_S - 16 * 3600),
        ("", None),
        ("now", None),
        ("2026-13-01", None),
    ],
)
def test_a_moment_is_read_as_utc_unless_it_says_otherwise(text: str, seconds: float | None) -> None:
    assert moment_s(text) == seconds


def test_repeats_of_a_dead_letter_have_one_fingerprint_and_others_have_their_own() -> None:
    one = read_back()
    again = read_back(Original(BODY, "volume-created", {"app_id": "other"}), attempts=2)
    assert one.fingerprint == again.fingerprint
    other = Original(BODY + b" ", "volume-created", {})
    for differs in (read_back(reason=Reason.INTERNAL), read_back(other)):
        assert differs.fingerprint != one.fingerprint


# --- replaying ---------------------------------------------------------------------


def test_a_replayed_event_is_the_original_but_for_our_headers() -> None:
    headers = {"tenant": "2f1d", "nested": {"a": [1]}, b"\xff": 1}
    properties = {
        "content_type": "application/json",
        "correlation_id": "c-1",
        "priority": 3,
        "app_id": "cinder",
        "application_headers": headers,
    }
    dead = read_back(Original(BODY, "volume-created", properties), attempts=3)
    message = replayed(dead, EVENTS)
    assert (message.exchange, message.routing_key, message.body) == (
        EVENTS,
        "volume-created",
        BODY,
    )
    assert message.properties == {
        **properties,
        "application_headers": {**headers, "x-kmworker-earlier-attempts": 3, "x-kmworker-user": ""},
        "delivery_mode": 2,
        "message_id": dead.message_id,
    }


def test_what_a_broker_notes_on_a_dead_letter_is_not_replayed() -> None:
    sent = as_sent()
    noted = {**sent.properties["application_headers"], "x-delivery-count": 7, "x-death": [{}]}
    dead = read_dead_letter(Original(sent.body, sent.routing_key, {"application_headers": noted}))
    headers = replayed(dead, EVENTS).properties["application_headers"]
    assert headers == {"x-kmworker-earlier-attempts": 1, "x-kmworker-user": ""}


def test_a_replayed_event_is_still_whose_it_was_and_never_its_operators() -> None:
    sent = as_sent()
    for user in ("cinder", "", None):
        headers = {**sent.properties["application_headers"], "x-kmworker-user": user}
        properties = {"application_headers": headers, "user_id": "whoever-wrote-it"}
        dead = read_dead_letter(Original(sent.body, sent.routing_key, properties))
        message = replayed(dead, EVENTS)
        assert dead.user == (user or "")
        assert message.properties["application_headers"]["x-kmworker-user"] == (user or "")
        assert "user_id" not in message.properties


def test_attempts_add_up_over_any_number_of_replays() -> None:
    dead = read_back(attempts=2)
    for expected in (3, 4, 5):
        message = replayed(dead, EVENTS)
        event = Original(message.body, message.routing_key, message.properties)
        dead = read_back(event)
        assert dead.attempts == expected


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({}, "it has no x-kmworker-reason"),
        ({"routing_key": "volume-created"}, "it has no x-kmworker-reason"),
        ({"reason": "conflict"}, "it has no x-kmworker-routing-key"),
        ({"reason": "conflict", "routing_key": 7}, "it has no x-kmworker-routing-key"),
        ({"reason": "integrity", "routing_key": ""}, "does not hold the event as it was sent"),
    ],
)
def test_what_no_worker_wrote_cannot_be_replayed(headers: dict[str, object], why: str) -> None:
    assert strangers(BODY, **headers).obstacle.endswith(why)


# --- bodies that are larger than an event may be ------------------------------------


def large(**headers: object) -> Original:
    """A dead letter as a worker writes it of a body that it did not hold."""
    event = Original(b"", "volume-created", {}, Digest("ab" * 32, 5_000_000))
    sent = dead_letter_of(event, reason=Reason.MALFORMED, event_id="", event_type="unknown")
    named = {**sent.properties["application_headers"], **headers}
    return Original(sent.body, sent.routing_key, {**sent.properties, "application_headers": named})


@pytest.mark.parametrize(
    "original",
    [
        large(),
        # As version 0.1 wrote it, and as it is read now.
        Original(
            b"",
            "malformed.unknown",
            {
                "application_headers": {
                    "x-kmworker-reason": "malformed", "x-kmworker-routing-key": "volume-created",
                }
            },
            Digest("ab" * 32, 5_000_000),
        ),
    ],
    ids=["noted", "read"],
)  # fmt: skip
def test_a_dead_letter_of_a_large_body_is_known_by_its_digest_and_not_replayed(
    original: Original,
) -> None:
    dead = read_dead_letter(original)
    assert dead.message_id == "ab" * 32
    assert dead.dropped == Digest("ab" * 32, 5_000_000)
    assert dead.obstacle == "its body of 5,000,000 bytes is larger than an event may be"
    assert Selection(ids=["ab" * 6]).matches(dead)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-kmworker-body-sha256": "AB" * 32}, {"x-kmworker-body-sha256": b"ab" * 32},
        {"x-kmworker-body-bytes": True}, {"x-kmworker-body-bytes": "5"},
    ],
)  # fmt: skip
def test_what_no_worker_notes_of_a_body_is_not_believed(headers: dict[str, object]) -> None:
    dead = read_dead_letter(large(**headers))
    assert dead.dropped is None
    assert dead.message_id == hashlib.sha256(b"").hexdigest()
