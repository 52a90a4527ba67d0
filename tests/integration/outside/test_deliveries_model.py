"""The model of who may have which key says what the contract says, and rounds reach all of it."""

from collections import Counter
from random import Random

import pytest

from tests.kit.outside.deliveries.drawing import Drawer
from tests.kit.outside.deliveries.model import Attachment, Client, Item, World
from tests.kit.outside.deliveries.playing import CLIENTS

V, CLONE, PLAIN = (Item("dl.a", "volume", name) for name in ("v", "clone", "plain"))
NODE = Client("node", frozenset({"n1"}), frozenset())
BACKUP = Client("backup", frozenset(), frozenset({"dl.a"}), needs_grant=False)
ELSEWHERE = Client("elsewhere", frozenset({"n1"}), frozenset({"dl.b"}))


def world(*attachments: Attachment) -> World:
    made = World()
    made.lives = {V: 0, CLONE: 0, PLAIN: 0}
    made.keys = {V: V, CLONE: CLONE, PLAIN: None}
    made.scopes = {V: V, CLONE: V}
    made.attachments = {(it.volume, it.id): it for it in attachments}
    return made


def test_a_node_gets_what_is_attached_to_it_and_nobody_else_does() -> None:
    found = world(Attachment(V, "a1", "n1"), Attachment(PLAIN, "a1", "n1"))
    assert found.answer(NODE, V) == "key-delivered"
    for client, item in ((NODE, CLONE), (NODE, PLAIN), (ELSEWHERE, V), (BACKUP, PLAIN)):
        assert found.answer(client, item) == "not-granted"
    assert found.answer(BACKUP, CLONE) == "key-delivered"


@pytest.mark.parametrize(
    "attached",
    [
        Attachment(V, "a1", "n2"),
        Attachment(V, "a1", "n1", generation=1),
        Attachment(V, "a1", "n1", is_past=True),
    ],
    ids=["elsewhere", "another life", "past"],
)
def test_what_is_attached_otherwise_is_no_grant(attached: Attachment) -> None:
    assert world(attached).answer(NODE, V) == "not-granted"


def test_what_has_ended_says_why_to_who_might_have_had_it() -> None:
    found = world(Attachment(V, "a1", "n1"))
    found.suspended = {V}
    assert found.answer(NODE, V) == "suspended"
    # It is the key-id that is suspended, and the DEK that is known to others.
    assert found.answer(BACKUP, CLONE) == "key-delivered"
    found.compromised = {V}
    assert {found.answer(NODE, V), found.answer(BACKUP, CLONE)} == {"compromised"}
    found.over = {(V, "a1")}
    assert found.answer(NODE, V) == "not-granted"
    found.gone = {V}
    assert found.answer(BACKUP, V) == "not-granted"
    found.revoked = {"backup"}
    assert found.answer(BACKUP, CLONE) == "unknown-client"


def test_rounds_come_to_everything_that_a_client_can_be_told_but_by_people() -> None:
    found, rng = World(), Random(71)
    drawer = Drawer(rng, found)
    types: Counter[str] = Counter()
    for _ in range(8):
        types += Counter(it.routing_key for it in drawer.draw(10).messages)
    assert types.keys() == {
        "volume-created", "snapshot-taken", "volume-attached", "volume-detached",
        "volume-deleted", "snapshot-deleted",
    }  # fmt: skip
    told = Counter(found.answer(client, it) for client in CLIENTS for it in found.lives)
    assert min(told["key-delivered"], told["not-granted"]) > 10
    assert any(it.is_past for it in found.live)
    assert any(it.generation for it in found.live)
    early = {volume for volume, name in found.over if (volume, name) not in found.attachments}
    assert early
