"""A record's message: always the same bytes, within bounds, and nothing that was not said."""

import json
from dataclasses import fields

import pytest

from kmworker.domain.audit import Act, Actor, ActorKind, ActOutcome, AuditRecord
from kmworker.wire.audit_records import (
    MAX_RECORD_BYTES,
    audit_message,
    read_audit_message,
    record_fields,
    record_in,
)

AT = "2026-11-30T16:00:00.000Z"
OPERATOR = Actor(ActorKind.OPERATOR, "alice", os_user="root", host="ops1")
LONG = "\u0001" * 255
FULL = AuditRecord(
    Act.KEY_REFUSED, OPERATOR, AT, ActOutcome.REFUSED, "why", "r1", "e1", "p1", "volume:v1",
    "c0b7e0a4-6f0c-4b1e-9f57-2d3f8f0a9b61", "k1", "c1", "a1", "n1", 7,
)  # fmt: skip


def test_it_says_all_that_there_is_to_say_and_nothing_else() -> None:
    message = audit_message(FULL, "worker@h/1", 3, "/kmworker", "kmworker.audit")
    assert read_audit_message(message.body)["data"] == {
        "what": "key-refused",
        "who": {"kind": "operator", "name": "alice", "os_user": "root", "host": "ops1"},
        "at": AT, "outcome": "refused", "writer": "worker@h/1", "number": 3, "reason": "why",
        "request": "r1", "event": "e1", "project_id": "p1", "item": "volume:v1",
        "key_id": "c0b7e0a4-6f0c-4b1e-9f57-2d3f8f0a9b61", "kek_id": "k1", "client": "c1",
        "attachment_id": "a1", "node": "n1", "count": 7,
    }  # fmt: skip
    assert message.routing_key == "record.key-refused.p1"
    assert len(fields(FULL)) == 15, "a new field has to be said, too"


def test_what_is_not_known_is_left_out() -> None:
    record = AuditRecord(Act.KEK_ACTIVATED, Actor(ActorKind.OPERATOR, "alice"), AT)
    message = audit_message(record, "w", 1, "/kmworker", "x")
    said = json.loads(message.body)["data"]
    assert said.keys() == {"what", "who", "at", "outcome", "writer", "number"}
    assert message.routing_key == "record.kek-activated"


@pytest.mark.parametrize("record", [FULL, AuditRecord(Act.KEK_ADDED, OPERATOR, AT)])
def test_what_is_kept_for_later_is_read_back_whole(record: AuditRecord) -> None:
    assert record_in(json.loads(json.dumps(record_fields(record)))) == record


def test_each_number_has_an_id_of_its_own_and_always_the_same() -> None:
    made = [audit_message(FULL, writer, number, "/kmworker", "x")
            for writer in ("a", "b") for number in (1, 2)]  # fmt: skip
    assert len({it.properties["message_id"] for it in made}) == 4
    assert made[0] == audit_message(FULL, "a", 1, "/kmworker", "x")


def test_the_longest_texts_fit_into_a_record() -> None:
    who = Actor(ActorKind.OPERATOR, LONG, LONG, LONG)
    record = AuditRecord(
        Act.KEY_DEACTIVATED, who, AT, ActOutcome.REFUSED, LONG, LONG, LONG, "p" * 128,
        "v" * 300, "k" * 36, LONG, LONG, LONG, LONG, 10**9,
    )  # fmt: skip
    message = audit_message(record, "w" * 255, 2**53, LONG, "x")
    assert len(message.body) < MAX_RECORD_BYTES


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"data":{}}'])
def test_what_is_no_record_is_not_read_as_one(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_audit_message(body)
