"""The checks of deliveries find what they are there for."""

import json
from collections.abc import Mapping
from random import Random
from typing import Any, cast

import pytest

from tests.chaos.annals import Annals
from tests.chaos.deliveries import ELSEWHERE, NODE, Asker, Attacher, Attachment, Got
from tests.chaos.lives import Life, Lives
from tests.chaos.lives_account import KeyBook

P = "lives-0"
LIFE = Life(P, "volume", "v1", 0, "made")
KEY_ID = "k1"
REF = "volume:v1"


class Storage:
    """As much of the storage as attachments need."""

    projects = (P,)
    lives = (LIFE,)


class Grants:
    """A reader of one table."""

    def __init__(self, *attachments: Mapping[str, Any]) -> None:
        self._found = {REF: {"attachments": attachments}} if attachments else {}

    def records(self, _project: str, _table: str) -> Mapping[str, Any]:
        return self._found


class Book:
    """The records of one volume and its key."""

    def __init__(self, state: str = "active", key_state: str = "active") -> None:
        self.items = {(P, REF): {"state": state, "data": {"key_id": KEY_ID}}}
        self.keys = {(P, KEY_ID): {"state": key_state}}


def attacher(*attachments: Attachment, grants: Grants | None = None) -> Attacher:
    storage, reader = cast("Lives", Storage()), cast("Any", grants or Grants())
    made = Attacher(cast("Any", None), Annals(), storage, lambda: reader, Random(1))
    made.attachments += attachments
    return made


def asker(*attachments: Attachment, says: str = "not-granted") -> Asker:
    made = Asker(cast("Any", None), cast("Lives", Storage()), attacher(*attachments), Random(1))
    made.ask = lambda life: says  # type: ignore[method-assign]  # noqa: ARG005  # as called
    return made


def attachment(**more: Any) -> Attachment:
    return Attachment(LIFE, "a1", **{"node": NODE, "said_at": 1.0, **more})


@pytest.mark.parametrize(
    "attached",
    [(), (attachment(node=ELSEWHERE),), (attachment(is_ended=True, over_at=5.0),)],
    ids=["never", "elsewhere", "before"],
)
@pytest.mark.parametrize("word", ["key-delivered", "suspended"])
def test_who_is_told_what_was_not_granted_when_it_asked_is_found(
    attached: tuple[Attachment, ...], word: str
) -> None:
    made = asker(*attached)
    made._check(LIFE, 6.0, word)
    assert len(made.wrong) == 1


@pytest.mark.parametrize("over_at", [None, 7.0])
def test_what_was_granted_at_some_time_may_be_told(over_at: float | None) -> None:
    made = asker(attachment(is_ended=True, over_at=over_at))
    made._check(LIFE, 6.0, "key-delivered")
    made._check(LIFE, 6.0, "not-granted")
    assert made.wrong == []


@pytest.mark.parametrize(
    ("attached", "book", "right"),
    [
        ((attachment(),), Book(), "key-delivered"),
        ((attachment(),), Book(key_state="compromised"), "compromised"),
        ((attachment(),), Book(state="released"), "not-granted"),
        ((attachment(is_ended=True),), Book(), "not-granted"),
        ((attachment(node=ELSEWHERE),), Book(), "not-granted"),
    ],
    ids=["attached", "compromised", "released", "detached", "elsewhere"],
)
def test_at_rest_each_has_one_right_answer(
    attached: tuple[Attachment, ...], book: Book, right: str
) -> None:
    known = cast("KeyBook", book)
    assert list(asker(*attached, says=right).examine(known)) == []
    for word in {"key-delivered", "compromised", "not-granted"} - {right}:
        assert list(asker(*attached, says=word).examine(known))


def trail(*reasons: str) -> str:
    data = (
        {"what": "key-delivered", "reason": it, "item": REF, "key_id": KEY_ID} for it in reasons
    )
    return "\n".join(json.dumps({"record": {"data": it}}) for it in data)


def test_a_delivery_without_its_record_and_two_keys_under_one_name_are_found() -> None:
    made = asker()
    made.book.got += [Got(LIFE, "first", KEY_ID), Got(LIFE, "second", KEY_ID)]
    assert list(made.problems(trail("first", "second"))) == []
    assert len(list(made.problems(trail("first")))) == 1
    made.book.keys[P, KEY_ID] |= {b"one", b"another"}
    assert len(list(made.problems(trail("first", "second")))) == 1


def test_what_the_store_does_not_say_of_an_attachment_is_found() -> None:
    live, over = {"id": "a1", "grant": {}}, {"id": "a1", "over": {}}
    for ended, right, wrong in ((False, live, over), (True, over, live)):
        it = attachment(is_ended=ended)
        assert list(attacher(it, grants=Grants(right)).unsettled()) == []
        assert list(attacher(it, grants=Grants(wrong)).unsettled())
        assert list(attacher(it).unsettled())
