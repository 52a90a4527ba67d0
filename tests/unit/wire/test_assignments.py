"""Assignments out: the bytes of today are the bytes that subscribers saw before."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmworker.domain.model import (
    Assignment,
    Cause,
    DataAction,
    Disposition,
    Encryption,
    Item,
    Kind,
    Stored,
)
from kmworker.wire.assignments import announce, announcement_id, decode_data, encode_data

SOURCE = "/kmworker"
EXCHANGE = "kmworker.assignments"
XTS = Encryption("aes-xts-plain64", 512)


def _assigned(disposition: Disposition, item: Item, **said: Any) -> Assignment:
    """An assignment; what nothing is said of has no key, and no source."""
    nothing = dict.fromkeys(
        ("key_id", "scope_id", "source", "node", "encryption", "reencrypt_from")
    )
    whole = {**nothing, "data_action": DataAction.NONE, **said}
    return Assignment(item=item, disposition=disposition, **whole)


ASSIGNMENTS = {
    "create": _assigned(
        Disposition.CREATE, Item("2f1d", Kind.VOLUME, "1111"),
        key_id="0f8e5c52-1d27-4c55-9b1e-6a1d7c1e9f01",
        scope_id="e2f411bc-ba5e-54c1-93fc-95111b808bab",
        source=Item("77c0", Kind.SNAPSHOT, "54af"),
        encryption=XTS,
        data_action=DataAction.REENCRYPT,
        reencrypt_from="0f8e5c52-1d27-4c55-9b1e-6a1d7c1e9f00",
        rule="guard:cross-project",
        cause=Cause("6d1c", "/cinder/blk01", "volume-created"),
        assigned_at="2026-11-23T16:00:00.125Z",
    ),
    "clone": _assigned(
        Disposition.CLONE, Item("2f1d", Kind.VOLUME, "2222"),
        key_id="0f8e5c52-1d27-4c55-9b1e-6a1d7c1e9f02",
        scope_id="e2f411bc-ba5e-54c1-93fc-95111b808bab",
        source=Item("2f1d", Kind.SNAPSHOT, "54af"),
        encryption=XTS,
        rule="derived-volumes-get-a-clone",
        # Text of the producer's own, as it was sent: not escaped, not normalised.
        cause=Cause('77"ab', "/cinder/blk01/é", "volume-created"),
        assigned_at="2026-11-23T16:00:01.000Z",
    ),
    "reuse": _assigned(
        Disposition.REUSE, Item("swift-eu1", Kind.REPLICA, "policy-0/4711@obj-07"),
        key_id="0f8e5c52-1d27-4c55-9b1e-6a1d7c1e9f03",
        scope_id="58465682-6a17-5fed-9a73-355a9c31a74a",
        source=Item("swift-eu1", Kind.PARTITION, "policy-0/4711"),
        node="obj-07",
        encryption=Encryption("aes-xts-plain64", 256),
        rule="partition-replicas-share-the-key-id",
        cause=Cause("9c0e", "/swift/ring-builder", "replica-added"),
        assigned_at="2026-11-23T16:00:02.000Z",
    ),
    "none": _assigned(
        Disposition.NONE, Item("2f1d", Kind.VOLUME, "3333"),
        rule="guard:not-encrypted",
        cause=Cause("8b2e", "/cinder/blk01", "volume-created"),
        assigned_at="2026-11-23T16:00:03.000Z",
    ),
}  # fmt: skip

# What is stored: a change here makes what was announced before another announcement.
DATA = {
    "create": (
        b'{"item":{"kind":"volume","id":"1111"},"project_id":"2f1d",'
        b'"key_id":"0f8e5c52-1d27-4c55-9b1e-6a1d7c1e9f01",'
        b'"scope_id":"e2f411bc-ba5e-54c1-93fc-95111b808bab","disposition":"create",'
        b'"source":{"kind":"snapshot","id":"54af","project_id":"77c0"},"node":null,'
        b'"encryption":{"cipher":"aes-xts-plain64","key_bits":512},"data_action":"reencrypt",'
        b'"reencrypt_from":"0f8e5c52-1d27-4c55-9b1e-6a1d7c1e9f00",'
        b'"rule":"guard:cross-project",'
        b'"cause":{"id":"6d1c","source":"/cinder/blk01","type":"volume-created"},'
        b'"assigned_at":"2026-11-23T16:00:00.125Z"}'
    ),
    "clone": (
        b'{"item":{"kind":"volume","id":"2222"},"project_id":"2f1d",'
        b'"key_id":"0f8e5c52-1d27-4c55-9b1e-6a1d7c1e9f02",'
        b'"scope_id":"e2f411bc-ba5e-54c1-93fc-95111b808bab","disposition":"clone",'
        b'"source":{"kind":"snapshot","id":"54af","project_id":"2f1d"},"node":null,'
        b'"encryption":{"cipher":"aes-xts-plain64","key_bits":512},"data_action":"none",'
        b'"reencrypt_from":null,"rule":"derived-volumes-get-a-clone",'
        b'"cause":{"id":"77\\"ab","source":"/cinder/blk01/\xc3\xa9","type":"volume-created"},'
        b'"assigned_at":"2026-11-23T16:00:01.000Z"}'
    ),
    "reuse": (
        b'{"item":{"kind":"replica","id":"policy-0/4711@obj-07"},"project_id":"swift-eu1",'
        b'"key_id":"0f8e5c52-1d27-4c55-9b1e-6a1d7c1e9f03",'
        b'"scope_id":"58465682-6a17-5fed-9a73-355a9c31a74a","disposition":"reuse",'
        b'"source":{"kind":"partition","id":"policy-0/4711","project_id":"swift-eu1"},'
        b'"node":"obj-07","encryption":{"cipher":"aes-xts-plain64","key_bits":256},'
        b'"data_action":"none","reencrypt_from":null,'
        b'"rule":"partition-replicas-share-the-key-id",'
        b'"cause":{"id":"9c0e","source":"/swift/ring-builder","type":"replica-added"},'
        b'"assigned_at":"2026-11-23T16:00:02.000Z"}'
    ),
    "none": (
        b'{"item":{"kind":"volume","id":"3333"},"project_id":"2f1d",'
        b'"key_id":null,"scope_id":null,"disposition":"none",'
        b'"source":null,"node":null,"encryption":null,"data_action":"none",'
        b'"reencrypt_from":null,"rule":"guard:not-encrypted",'
        b'"cause":{"id":"8b2e","source":"/cinder/blk01","type":"volume-created"},'
        b'"assigned_at":"2026-11-23T16:00:03.000Z"}'
    ),
}
# Computed once with SHA-1 by hand (RFC 9562, section 5.5).
IDS = {
    "create": "21067376-849a-53f9-9a51-adc5a0e9933c",
    "clone": "d62f6336-4c83-5b36-9327-3710eac1beb8",
    "reuse": "d56118c6-e538-5308-859d-11e1e4977ea9",
    "none": "3d3819ab-7df8-5acd-806c-242b2f0d66d2",
}
SUBJECTS = {
    "create": "2f1d/volume:1111",
    "clone": "2f1d/volume:2222",
    "reuse": "swift-eu1/replica:policy-0/4711@obj-07",
    "none": "2f1d/volume:3333",
}
BODIES = {
    name: (
        f'{{"specversion":"1.0","id":"{IDS[name]}","source":"/kmworker","type":"key-assigned",'
        f'"subject":"{subject}","time":"{ASSIGNMENTS[name].assigned_at}","data":'
    ).encode()
    + DATA[name]
    + b"}"
    for name, subject in SUBJECTS.items()
}
EACH = pytest.mark.parametrize("disposition", ASSIGNMENTS)


def held(assignment: Assignment) -> Stored:
    return Stored(assignment, encode_data(assignment))


def test_there_is_an_example_of_each_disposition() -> None:
    assert list(ASSIGNMENTS) == [disposition.value for disposition in Disposition]


@EACH
def test_the_stored_data_keeps_its_bytes(disposition: str) -> None:
    assert encode_data(ASSIGNMENTS[disposition]) == DATA[disposition]


@EACH
def test_stored_data_is_read_as_what_it_was_made_from(disposition: str) -> None:
    assert decode_data(DATA[disposition]) == ASSIGNMENTS[disposition]


@EACH
def test_the_announcement_keeps_its_bytes(disposition: str) -> None:
    message = announce(held(ASSIGNMENTS[disposition]), SOURCE, EXCHANGE)
    assert message.body == BODIES[disposition]


@EACH
def test_an_announcement_is_addressed_and_persistent(disposition: str) -> None:
    message = announce(held(ASSIGNMENTS[disposition]), SOURCE, EXCHANGE)
    item = ASSIGNMENTS[disposition].item
    assert message.exchange == EXCHANGE
    assert message.routing_key == f"key-assigned.{item.kind.value}.{item.project}"
    assert message.properties == {
        "content_type": "application/cloudevents+json",
        "delivery_mode": 2,
        "message_id": IDS[disposition],
        "type": "key-assigned",
        "app_id": "kmworker",
    }


def test_the_routing_key_ends_with_the_project_which_may_contain_dots() -> None:
    item = Item("a.b.c", Kind.SNAPSHOT, "54af")
    message = announce(held(replace(ASSIGNMENTS["reuse"], item=item)), SOURCE, EXCHANGE)
    assert message.routing_key == "key-assigned.snapshot.a.b.c"


def test_what_is_stored_is_announced_as_it_is_whatever_this_version_would_write() -> None:
    older = DATA["clone"][:-1] + b',"a field of then" : 1 }'
    message = announce(Stored(ASSIGNMENTS["clone"], older), SOURCE, EXCHANGE)
    assert message.body == BODIES["clone"].replace(DATA["clone"], older)


OTHERS = {
    "key-id": (SOURCE, replace(ASSIGNMENTS["clone"], key_id="another")),
    "id": (SOURCE, replace(ASSIGNMENTS["clone"], item=Item("2f1d", Kind.VOLUME, "other"))),
    "kind": (SOURCE, replace(ASSIGNMENTS["clone"], item=Item("2f1d", Kind.SNAPSHOT, "2222"))),
    "project": (SOURCE, replace(ASSIGNMENTS["clone"], item=Item("other", Kind.VOLUME, "2222"))),
    "store": ("/kmworker/eu1", ASSIGNMENTS["clone"]),
}


@pytest.mark.parametrize(("source", "other"), OTHERS.values(), ids=OTHERS)
def test_another_item_key_or_store_is_announced_with_another_id(
    source: str, other: Assignment
) -> None:
    assert announcement_id(source, other) != IDS["clone"]


@pytest.mark.parametrize(
    "later",
    [
        replace(ASSIGNMENTS["clone"], assigned_at="2027-01-01T00:00:00.000Z"),
        replace(ASSIGNMENTS["clone"], rule="renamed"),
        replace(ASSIGNMENTS["clone"], cause=Cause("again", "/cinder/blk02", "volume-created")),
    ],
    ids=["time", "rule", "cause"],
)
def test_the_id_follows_from_item_and_key_alone(later: Assignment) -> None:
    assert announcement_id(SOURCE, later) == IDS["clone"]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ITEMS = st.builds(Item, project=TEXTS, kind=st.sampled_from(Kind), id=TEXTS)


@st.composite
def assignments(draw: st.DrawFn) -> Assignment:
    keyed = draw(st.booleans())
    return Assignment(
        item=draw(ITEMS),
        disposition=draw(st.sampled_from(Disposition)),
        key_id=draw(TEXTS) if keyed else None,
        scope_id=draw(TEXTS) if keyed else None,
        source=draw(st.none() | ITEMS),
        node=draw(st.none() | TEXTS),
        encryption=draw(st.none() | st.builds(Encryption, TEXTS, st.integers())),
        data_action=draw(st.sampled_from(DataAction)),
        reencrypt_from=draw(st.none() | TEXTS),
        rule=draw(TEXTS),
        cause=draw(st.builds(Cause, TEXTS, TEXTS, TEXTS)),
        assigned_at=draw(TEXTS),
    )


@given(assignments(), TEXTS)
def test_any_assignment_is_read_as_it_was_and_announced_with_the_same_bytes(
    assignment: Assignment, source: str
) -> None:
    data = encode_data(assignment)
    assert decode_data(data) == assignment
    assert encode_data(decode_data(data)) == data
    message = announce(held(assignment), source, EXCHANGE)
    assert message == announce(held(assignment), source, EXCHANGE)
    event = json.loads(message.body)
    assert (event["id"], event["source"]) == (announcement_id(source, assignment), source)
    assert event["data"] == json.loads(encode_data(assignment))


@pytest.mark.parametrize(
    "data", [b"", b"{", b"{}", b"[]", b"null", b'{"project_id":"p"}'], ids=repr
)
def test_what_is_no_stored_data_is_refused(data: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        decode_data(data)
