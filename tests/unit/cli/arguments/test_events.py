"""Events from words and from files."""

import json
from typing import Any
from uuid import UUID

import pytest

from kmworker.cli.arguments.events import Draft, Words, composed, drafts_of, read_drafts
from kmworker.cli.frame.exits import UsageError
from kmworker.domain.event import Event, Unreadable
from tests.kit.cli.stand import GOOD, lines


def made(*settings: str, **words: str) -> dict[str, Any]:
    drafts = drafts_of(Words("volume-created", "p1", settings, **words), None)
    document = json.loads(drafts[0].body)
    assert isinstance(document, dict)
    return document


def test_an_event_of_words_is_one_that_a_worker_takes() -> None:
    draft = composed(Words("volume-created", "p1", ["volume_id=v1", "size_bytes=10"]))
    event = draft.read()
    assert isinstance(event, Event)
    assert (event.item.ref, event.item.project, event.size_bytes) == ("volume:v1", "p1", 10)
    assert event.cause == (draft.event_id, "/kmworker/cli", "volume-created")
    assert UUID(draft.event_id).version == 4


def test_two_events_of_the_same_words_are_two_events() -> None:
    words = Words("volume-created", "p1", ["volume_id=v1"])
    assert composed(words).event_id != composed(words).event_id


def test_ids_sources_and_times_can_be_given() -> None:
    document = made("time=2026-11-23T16:00:00Z", event_id="e9", source="/me")
    assert (document["id"], document["source"]) == ("e9", "/me")
    assert document["time"] == "2026-11-23T16:00:00Z"
    assert made("id=e8")["id"] == "e8"


VALUES = {
    "text": ("a=v1", {"a": "v1"}),
    "a number": ("a=10", {"a": 10}),
    "null": ("a=null", {"a": None}),
    "quoted": ('a="10"', {"a": "10"}),
    "an object": ('a={"b": [1]}', {"a": {"b": [1]}}),
    "empty": ("a=", {"a": ""}),
    "with an equals sign": ("a=b=c", {"a": "b=c"}),
    "nested": ("a.b.c=1", {"a": {"b": {"c": 1}}}),
    "with its prefix": ("data.a=1", {"a": 1}),
    "the source of data": ("source.kind=volume", {"source": {"kind": "volume"}}),
    "no JSON, whatever Python says": ("a=NaN", {"a": "NaN"}),
    "an id that looks like a number": ("source.id=4711", {"source": {"id": "4711"}}),
    "an id that looks like nothing": ("volume_id=null", {"volume_id": "null"}),
    "an id in quotes": ('volume_id="4711"', {"volume_id": "4711"}),
    "too many digits": ("a=" + "9" * 5000, {"a": "9" * 5000}),
}


@pytest.mark.parametrize(("setting", "data"), VALUES.values(), ids=VALUES)
def test_a_setting_is_a_field_of_data(setting: str, data: dict[str, Any]) -> None:
    assert made(setting)["data"] == {"project_id": "p1", **data}


def test_later_settings_win_and_nested_ones_add_up() -> None:
    assert made("a.b=1", "a.c=2", "a.b=3")["data"]["a"] == {"b": 3, "c": 2}


@pytest.mark.parametrize("setting", ["a", "=1", "a.=1", ".a=1", "a..b=1"])
def test_a_setting_that_is_none_is_wrong_usage(setting: str) -> None:
    with pytest.raises(UsageError, match=r"not like a\.b=value"):
        made(setting)


def test_settings_that_contradict_are_wrong_usage() -> None:
    with pytest.raises(UsageError, match="a has a value of its own already"):
        made("a=1", "a.b=2")


@pytest.mark.parametrize(
    ("words", "file"),
    [
        (Words(None, None, ()), None),
        (Words("volume-created", None, ()), None),
        (Words(None, "p1", ()), None),
        (Words("volume-created", None, ()), "f"),
        (Words(None, "p1", ()), "f"),
        (Words(None, None, ["a=1"]), "f"),
        (Words(None, None, (), event_id="e"), "f"),
        (Words(None, None, (), source="/s"), "f"),
        (Words(None, None, ()), "/nonexistent"),
    ],
)
def test_words_or_a_file_but_not_both_and_not_neither(words: Words, file: str | None) -> None:
    with pytest.raises(UsageError):
        drafts_of(words, file)


# --- files ------------------------------------------------------------------------


def test_a_file_has_one_event_a_line() -> None:
    drafts = list(read_drafts(lines(GOOD, {**GOOD, "id": "e2"}) + b"\n  \n" + lines(GOOD)))
    assert [(draft.where, draft.event_id) for draft in drafts] == [
        ("line 1", "e1"),
        ("line 2", "e2"),
        ("line 5", "e1"),
    ]
    assert all(isinstance(draft.read(), Event) for draft in drafts)


def test_a_file_may_be_one_document_over_many_lines() -> None:
    (draft,) = read_drafts(json.dumps(GOOD, indent=4).encode() + b"\n")
    assert (draft.where, draft.event_type) == ("the event", "volume-created")
    assert isinstance(draft.read(), Event)


def test_an_array_over_many_lines_is_refused_as_an_array() -> None:
    (draft,) = read_drafts(json.dumps([GOOD, GOOD], indent=4).encode())
    refusal = draft.read()
    assert isinstance(refusal, Unreadable)
    assert refusal.detail == "the body is an array: publish each event by itself"


def test_what_is_published_is_what_was_written() -> None:
    body = b'{ "type":"volume-created" , "id":"e1"}'
    (draft,) = read_drafts(b" " + body + b"\r\n")
    assert draft.body == body


def test_an_empty_file_has_no_events() -> None:
    assert not list(read_drafts(b"\n \n"))


STRANGE = {
    "not JSON": (b"{", "unknown"),
    "a list": (b"[1]", "unknown"),
    "no type": (b'{"id": "e1"}', "unknown"),
    "a type too long for a routing key": (b'{"type": "%s"}' % (b"x" * 256), "unknown"),
    "nested too deeply": (b"[" * 100_000, "unknown"),
    "not UTF-8": (b"\xff\xfe", "unknown"),
    "another type": (b'{"type": "other"}', "other"),
    "half a surrogate pair": (b'{"type": "a\\ud800", "id": "\\udc00"}', "a?"),
}


@pytest.mark.parametrize(("body", "event_type"), STRANGE.values(), ids=STRANGE)
def test_whatever_a_line_is_can_still_be_sent(body: bytes, event_type: str) -> None:
    drafts: list[Draft] = list(read_drafts(body))
    message = drafts[0].message("exchange")
    assert (message.routing_key, message.body) == (event_type, body)
    assert message.properties["message_id"]
    assert isinstance(drafts[0].read(), Unreadable)


def test_a_message_is_persistent_and_names_its_event() -> None:
    (draft,) = read_drafts(lines(GOOD))
    assert draft.message("km.events").properties == {
        "content_type": "application/cloudevents+json",
        "delivery_mode": 2,
        "message_id": "e1",
        "type": "volume-created",
        "app_id": "kmworker",
    }
