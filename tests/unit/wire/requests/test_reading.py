"""What a client's request may be, and what it is told of what it may not."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmworker.domain.model import Item, Kind
from kmworker.wire.requests.definition import REQUEST_TYPES, REQUESTS
from kmworker.wire.requests.reading import Misread, read_request
from kmworker.wire.requests.types import KeyRequested
from tests.kit.published_schemas import is_valid

CLIENT = "blk01"
KEY_ID = "c0b7e0a4-6f0c-4b1e-9f57-2d3f8f0a9b61"
EXAMPLE = KeyRequested.example
DATA = EXAMPLE["data"]


def edited(**changed: Any) -> dict[str, Any]:
    """The example with other data; None leaves a field out."""
    data = {name: it for name, it in (DATA | changed).items() if it is not None}
    return EXAMPLE | {"data": data}


def told(document: object, client: str = CLIENT) -> str:
    read = read_request(json.dumps(document).encode(), client)
    assert isinstance(read, Misread), read
    # It stands in an answer and a log.
    assert re.fullmatch("[ -~]{1,255}", read.detail)
    return read.detail


@pytest.mark.parametrize("request_type", REQUEST_TYPES)
def test_a_requests_example_is_read_and_written_again(request_type: str) -> None:
    example = REQUESTS[request_type].example
    read = read_request(json.dumps(example).encode(), example["source"])
    assert not isinstance(read, Misread)
    assert json.loads(read.body(example["source"])) == example


def test_an_item_is_of_the_requests_project() -> None:
    read = read_request(json.dumps(EXAMPLE).encode(), CLIENT)
    assert isinstance(read, KeyRequested)
    assert read.item == Item(DATA["project_id"], Kind.VOLUME, DATA["item"]["id"])


def test_a_key_is_asked_for_by_its_key_id() -> None:
    read = read_request(json.dumps(edited(item=None, key_id=KEY_ID)).encode(), CLIENT)
    assert isinstance(read, KeyRequested)
    assert (read.item, read.key_id) == (None, KEY_ID)


WRONG: dict[str, tuple[Any, str]] = {
    "both": (edited(key_id=KEY_ID), "data: give either item or key_id, and one of them"),
    "neither": (edited(item=None), "data: give either item or key_id, and one of them"),
    "misspelt": (edited(purpsoe="x"), "data.purpsoe is unknown; did you mean"),
    "nobody's": (edited(zzz="x"), "data.zzz is unknown; known are"),
    "of the item": (edited(item={"kind": "volume", "id": "v", "knd": 1}),
                    "data.item.knd is unknown; did you mean kind?"),
    "a kind": (edited(item={"kind": "image", "id": "v"}), "data.item.kind: none of"),
    "an id": (edited(item={"kind": "volume", "id": "a b"}), "data.item.id: ids of items are"),
    "no object": (edited(item="volume:v"), "data.item: text, where an object is needed"),
    "a key-id": (edited(item=None, key_id="K"), "data.key_id: not a UUID"),
    "a project": (edited(project_id="a b"), "data.project_id: projects are"),
    "no project": (edited(project_id=None), "data.project_id: missing"),
    "a number": (edited(project_id=10**20), "data.project_id: a number, where text is needed"),
    "purpose": (edited(purpose="a\nb"), "data.purpose: has a control character"),
    "reply_to": (edited(reply_to="a b"), "data.reply_to: has a space"),
    "no reply_to": (edited(reply_to=None), "data.reply_to: missing"),
    "time": (EXAMPLE | {"time": "2026-11-23T16:00:00+01:00"}, "time: not RFC 3339 in UTC"),
    "no such time": (EXAMPLE | {"time": "2026-02-30T16:00:00Z"}, "time: no real date or time"),
    "request id": (EXAMPLE | {"id": "1"}, "id: not a UUID"),
    "source": (EXAMPLE | {"source": "blk02"}, "source: not the client whose signature it is"),
    "no name": (EXAMPLE | {"source": "a b"}, "source: clients' names are"),
    "type": (EXAMPLE | {"type": "key-request"}, "type: not known; did you mean key-requested?"),
    "no type": ({name: it for name, it in EXAMPLE.items() if name != "type"}, "type: missing"),
    "no data": (EXAMPLE | {"data": None}, "data: missing, or not an object"),
    "version": (EXAMPLE | {"specversion": "2.0"}, 'specversion: not "1.0"'),
    "array": ([EXAMPLE], "the body is not a JSON object"),
    "text": ("x", "the body is not a JSON object"),
}  # fmt: skip


@pytest.mark.parametrize(("document", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_in_words(document: Any, said: str) -> None:
    assert told(document).startswith(said)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body is not JSON"),
        (b"\xff", "the body is not UTF-8"),
        (b"{" * 65_537, "the body is larger than"),
        (b"[" * 60_000, "the body is nested too deeply"),
        (b'{"id":1,"id":2}', "an object of the body has the same name twice"),
        (b'{"id":NaN}', "the body has NaN"),
        (b'{"id":' + b"9" * 5_000 + b"}", "the body is not JSON"),
    ],
    ids=lambda it: repr(it[:16]),
)
def test_what_is_no_json_is_told(body: bytes, said: str) -> None:
    read = read_request(body, CLIENT)
    assert isinstance(read, Misread)
    assert read.detail.startswith(said)
    assert (read.id, read.reply_to) == ("", "")


@pytest.mark.parametrize("found", [None, 1, "", "é", "x" * 256, "a b", "a\nb"], ids=repr)
def test_where_an_answer_would_go_is_kept_only_if_it_is_a_place(found: object) -> None:
    read = read_request(json.dumps(edited(reply_to=found, zzz=1)).encode(), CLIENT)
    assert isinstance(read, Misread)
    assert (read.id, read.reply_to) == (EXAMPLE["id"], "")


def test_extension_attributes_are_anybodys() -> None:
    assert isinstance(
        read_request(json.dumps(EXAMPLE | {"traceparent": "x"}).encode(), CLIENT), KeyRequested
    )


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just({"kind": "x"})


@given(st.sampled_from([*DATA, "key_id", "other"]), VALUES)
def test_schema_and_key_server_agree(name: str, found: object) -> None:
    document = EXAMPLE | {"data": DATA | {name: found}}
    is_read = isinstance(read_request(json.dumps(document).encode(), CLIENT), KeyRequested)
    data = document["data"]
    # The one thing that a schema does not say: which fields go together.
    is_one = (data.get("item") is None) != (data.get("key_id") is None)
    assert is_read == (is_valid("key-requested", document) and is_one)
