"""What the trail says of a change of a key-id's."""

import re
from pathlib import Path

import pytest

from kmworker.domain.audit import ACTS, Act, Actor, ActorKind, record_of_change
from kmworker.domain.keys import (
    JANITOR,
    By,
    Cause,
    KeyChanged,
    KeyEvent,
    KeyRecord,
    KeyState,
    LastChange,
    Operator,
)

AT = "2026-11-30T16:00:00.000Z"


def changed(event: KeyEvent, by: By) -> KeyChanged:
    change = LastChange(event, AT, by, KeyState.ACTIVE)
    return KeyChanged("p1", KeyRecord("k1", "s1", "d1", KeyState.ACTIVE, None, AT, changed=change))


@pytest.mark.parametrize("event", KeyEvent)
def test_every_change_is_an_act_of_the_same_name(event: KeyEvent) -> None:
    assert record_of_change(changed(event, JANITOR), "a1").what.value == event.value


@pytest.mark.parametrize(
    ("by", "who", "reason", "answers"),
    [
        (Operator("alice", "leak"), Actor(ActorKind.OPERATOR, "alice"), "leak", None),
        (
            Cause("e1", "/cinder", "volume-deleted"),
            Actor(ActorKind.PRODUCER, "/cinder"),
            None,
            "e1",
        ),
        (JANITOR, Actor(ActorKind.JANITOR, "janitor"), None, None),
    ],
)
def test_it_says_who_and_why(by: By, who: Actor, reason: str | None, answers: str | None) -> None:
    record = record_of_change(changed(KeyEvent.SUSPENDED, by), "a1")
    assert (record.what, record.who, record.at) == (Act.KEY_SUSPENDED, who, AT)
    assert (record.reason, record.request, record.event) == (reason, answers, "a1")
    assert (record.project, record.key_id) == ("p1", "k1")


def test_the_page_of_the_audit_trail_says_of_each_act_when_it_is_recorded() -> None:
    page = (Path(__file__).parents[3] / "docs" / "audit.md").read_text()
    table = page[page.index("| what (`data.what`)") : page.index("- **Who** is")]
    # What clients do with secrets comes with them.
    to_come = {it.value for it in Act if it.name.startswith("SECRET")}
    assert set(re.findall("`([a-z]+(?:-[a-z]+)*)`", table)) >= {*ACTS} - to_come
