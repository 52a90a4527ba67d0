import json
from inspect import signature
from typing import Any

import pytest

from kmworker.client import Assignment
from kmworker.client.assignment import read_assignment
from kmworker.domain import model
from tests.kit.announcements import REENCRYPTED, UNENCRYPTED, announced, blank_volume


def document() -> Any:
    return json.loads(announced(REENCRYPTED).body)


def read(changed: Any) -> Assignment:
    return read_assignment(json.dumps(changed).encode())


@pytest.mark.parametrize("made", [REENCRYPTED, blank_volume("v1"), UNENCRYPTED])
def test_an_assignment_reads_as_it_was_made(made: model.Assignment) -> None:
    message = announced(made)
    assignment = read_assignment(message.body)
    assert assignment.id == message.properties["message_id"]
    for name in signature(type(made)).parameters:
        assert getattr(assignment, name) == getattr(made, name), name


@pytest.mark.parametrize("name", ["key_id", "scope_id", "encryption"])
def test_half_a_key_is_refused(name: str) -> None:
    keyed, keyless = document(), json.loads(announced(UNENCRYPTED).body)
    keyed["data"][name], keyless["data"][name] = keyless["data"][name], keyed["data"][name]
    for changed in (keyed, keyless):
        with pytest.raises(ValueError, match=f"^data.{name}: "):
            read(changed)


@pytest.mark.parametrize("path", [[], ["data"], ["data", "item"], ["data", "cause"]], ids=".".join)
def test_what_a_newer_worker_adds_is_skipped(path: list[str]) -> None:
    changed = document()
    table = changed
    for name in path:
        table = table[name]
    table["added"] = {"by": "a newer worker"}
    assert read(changed) == read(document())


@pytest.mark.parametrize(
    ("name", "value"),
    [("data_action", "shred"), ("disposition", "merge"), ("key_id", 7), ("encryption", None)],
)
def test_what_cannot_be_understood_is_refused_by_name(name: str, value: object) -> None:
    changed = document()
    changed["data"][name] = value
    with pytest.raises(ValueError, match=f"^data.{name}: "):
        read(changed)


def test_another_type_of_event_is_no_assignment() -> None:
    with pytest.raises(ValueError, match=r"^type: "):
        read(document() | {"type": "key-destroyed"})


@pytest.mark.parametrize("body", [b"", b"{oops", b"[]", b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_refused_in_one_line(body: bytes) -> None:
    with pytest.raises(ValueError) as caught:
        read_assignment(body)
    assert "\n" not in str(caught.value)


def test_a_refusal_does_not_repeat_what_was_sent() -> None:
    with pytest.raises(ValueError) as caught:
        read_assignment(b'{"id": {"secret": "swordfish"}}')
    # Nor where a traceback would show it.
    assert "swordfish" not in f"{caught.value} {caught.value.__context__}"
    assert caught.value.__suppress_context__
