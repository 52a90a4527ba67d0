"""What comes as an event: its content type and its body, as bytes and as JSON."""

import gzip
import json
import zlib
from typing import Any

import pytest

from kmworker.domain.event import Event, Unreadable
from kmworker.domain.message import MAX_BODY_BYTES
from kmworker.errors import Reason
from kmworker.wire.events.reading import parse
from tests.unit.wire.events.documents import (
    EVENTS,
    EVERY_FIELD,
    GOOD_BODY,
    changed,
    document,
    parsed,
    read,
    refused,
)

# --- content types ----------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    [
        None, "", "application/cloudevents+json", "application/json", "Application/JSON",
        "application/json; charset=utf-8", "application/cloudevents+json;charset=utf-8;a=b",
        "application/json ;", " application/json",
    ],
    ids=repr,
)  # fmt: skip
def test_a_content_type_that_is_taken(content_type: object) -> None:
    assert isinstance(parse(GOOD_BODY, content_type, "volume-created"), Event)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain", "application/octet-stream", "application/xml", "json", "application/jsonx",
        "application/cloudevents", ";application/json", ";",
        "text/plain; application/json", b"application/json", 7, ["application/json"], {}, False,
    ],
    ids=repr,
)  # fmt: skip
def test_a_content_type_that_is_not_taken(content_type: object) -> None:
    detail = refused(parse(GOOD_BODY, content_type, "volume-created"))
    expected = "the content type is neither application/cloudevents+json nor application/json"
    assert detail == expected


# --- bodies -----------------------------------------------------------------------

NOT_JSON = "the body is not JSON"
NO_OBJECT = "the body is not a JSON object"
NOT_UTF_8 = "the body is not UTF-8"
UTF_16 = "the body is UTF-16 or UTF-32: send it as UTF-8"
NOT_NUMBERS = "the body has NaN or Infinity, which are not JSON"
TOO_DEEP = "the body is nested too deeply"
TOO_LARGE = "the body is larger than 65536 bytes"

BAD_BODIES = {
    "nothing": (b"", "the body is empty"),
    "white space": (b" \n", "the body is empty"),
    "a word": (b"hello", NOT_JSON),
    "cut short": (GOOD_BODY[:-1], NOT_JSON),
    "more after the end": (GOOD_BODY + b"{}", NOT_JSON),
    "a comma too many": (b'{"a": 1,}', NOT_JSON),
    "single quotes": (b"{'a': 1}", NOT_JSON),
    "a comment": (b"{} // why", NOT_JSON),
    "a line break in a text": (b'{"a": "\n"}', NOT_JSON),
    "a NUL": (b"\0", NOT_JSON),
    "a byte order mark": (
        b"\xef\xbb\xbf" + GOOD_BODY, "the body begins with a byte order mark: leave it out",
    ),
    "an integer of 5000 digits": (b'{"a": ' + b"9" * 5000 + b"}", NOT_JSON),
    "a negative integer of 5000 digits": (b'{"a": -' + b"9" * 5000 + b"}", NOT_JSON),
    "an array": (b"[" + GOOD_BODY + b"]", "the body is an array: publish each event by itself"),
    "a text": (b'"{}"', "the body is text in JSON, not an object: is it encoded twice?"),
    "a number": (b"1", NO_OBJECT),
    "true": (b"true", NO_OBJECT),
    "null": (b"null", NO_OBJECT),
    "Latin-1": (b'{"a": "\xe9"}', NOT_UTF_8),
    "a lone byte": (b"\xff", NOT_UTF_8),
    "UTF-16": (GOOD_BODY.decode().encode("utf-16"), UTF_16),
    "UTF-16 without a mark": (GOOD_BODY.decode().encode("utf-16-be"), UTF_16),
    "UTF-32": (GOOD_BODY.decode().encode("utf-32-le"), UTF_16),
    "gzip": (gzip.compress(GOOD_BODY), "the body is compressed (gzip): send it as plain UTF-8"),
    "zlib": (zlib.compress(GOOD_BODY), "the body is compressed (zlib): send it as plain UTF-8"),
    "an encoded surrogate": (b'{"a": "\xed\xa0\x80"}', NOT_UTF_8),
    "an overlong encoding": (b'{"a": "\xc0\xaf"}', NOT_UTF_8),
    "NaN": (b'{"a": NaN}', NOT_NUMBERS),
    "Infinity": (b'{"a": [Infinity]}', NOT_NUMBERS),
    "-Infinity": (b'{"a": -Infinity}', NOT_NUMBERS),
}  # fmt: skip


@pytest.mark.parametrize(("body", "detail"), BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_body_that_is_no_event_is_malformed_and_leaves_its_name_unknown(
    body: bytes, detail: str
) -> None:
    refusal = parsed(body)
    assert refusal == Unreadable(Reason.MALFORMED, detail, event_id="", event_type="unknown")


NESTED = {
    "60000 open brackets": b"[" * 60_000,
    "60000 brackets": b"[" * 30_000 + b"]" * 30_000,
    "100000 brackets": b"[" * 50_000 + b"]" * 50_000,
    "10000 nested objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "brackets in an attribute": b'{"specversion":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
}


@pytest.mark.parametrize("body", NESTED.values(), ids=NESTED)
def test_brackets_without_end_are_malformed(body: bytes) -> None:
    # Which sentence depends on how deep this version of Python reads.
    refused(parsed(body))


DUPLICATES = {
    "an attribute": GOOD_BODY.replace(b'"id":', b'"id": "other", "id":', 1),
    "the data": GOOD_BODY[:-1] + b', "data": {}}',
    "a field of the data": GOOD_BODY.replace(b'"volume_id":', b'"volume_id": "2", "volume_id":'),
    "with the same value": GOOD_BODY.replace(b'"id": "6d1c"', b'"id": "6d1c", "id": "6d1c"'),
    "a field of the source": GOOD_BODY.replace(b'"kind":', b'"kind": "volume", "kind":'),
    "a field nobody reads": GOOD_BODY[:-1] + b', "x": [{"a": 1, "a": 2}]}',
    "written differently": GOOD_BODY[:-1] + rb', "\u0069d": "other"}',
}


@pytest.mark.parametrize("body", DUPLICATES.values(), ids=DUPLICATES)
def test_a_name_that_is_there_twice_is_malformed(body: bytes) -> None:
    detail = refused(parsed(body))
    assert detail == "an object of the body has the same name twice"


@pytest.mark.parametrize("filler", ["x", "é"], ids=["ASCII", "two bytes a letter"])
def test_a_body_of_64_kib_is_taken_and_one_byte_more_is_not(filler: str) -> None:
    whole = document() | {"x": ""}
    spare = MAX_BODY_BYTES - len(json.dumps(whole).encode())
    whole["x"] = filler * (spare // len(filler.encode())) + "x" * (spare % len(filler.encode()))
    body = json.dumps(whole, ensure_ascii=False).encode()
    assert len(body) == 64 * 1024
    assert isinstance(parsed(body), Event)
    assert refused(parsed(body + b" ")) == TOO_LARGE


def test_the_size_is_looked_at_before_anything_is_parsed() -> None:
    assert refused(parsed(b"\xff" * (MAX_BODY_BYTES + 1))) == TOO_LARGE


@pytest.mark.parametrize(("event_type", "path"), EVERY_FIELD)
def test_nesting_of_any_depth_in_any_field_is_refused(event_type: str, path: str) -> None:
    text = json.dumps(changed(event_type, path, "HERE"))
    # Around a thousand, where the interpreter's own limit is, notes are read next.
    for depth in (*range(1, 10), 1000, 10_000):
        body = text.replace('"HERE"', "[" * depth + "]" * depth).encode()
        detail = refused(parsed(body, event_type))
        assert detail == TOO_DEEP or detail.startswith(path)


def test_notes_of_any_depth_are_ignored_or_refused() -> None:
    text = json.dumps(changed("volume-created", "data.extra", {"a": "HERE"}))
    for depth in (*range(900, 1100), 1900):
        body = text.replace('"HERE"', "[" * depth + "]" * depth).encode()
        read_ = parsed(body)
        assert not isinstance(read_, Unreadable) or read_.detail.endswith("nested too deeply")


def test_nesting_in_a_field_nobody_reads_is_ignored_up_to_a_depth() -> None:
    deep: Any = []
    for level in range(400):
        deep = [deep] if level % 2 else {"a": deep}
    assert read(document() | {"x": deep}) == EVENTS["volume-created"]


def test_a_number_beyond_every_float_is_no_size() -> None:
    body = GOOD_BODY.replace(b"10737418240", b"1e400")
    assert refused(parsed(body)).startswith("data.size_bytes: ")
