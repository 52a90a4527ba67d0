"""An item that is assigned already: the first answer again, or a conflict."""

from dataclasses import replace
from typing import Any

import pytest

from kmworker.domain.decision import Already, Refuse, decide
from kmworker.domain.event import UNENCRYPTED, RequestedEncryption, Unencrypted
from kmworker.domain.model import Broken, Disposition, Encryption, Item, KeyState, State
from kmworker.domain.policy import Policy
from kmworker.errors import Reason
from tests.kit.builders import (
    SHIPPED,
    XTS,
    XTS_128,
    XTS_256,
    asks,
    event_of,
    held,
    image,
    policy_of,
    replica,
    snapshot,
    volume,
)

CREATE, CLONE, REUSE = Disposition.CREATE, Disposition.CLONE, Disposition.REUSE

DENY_ALL = policy_of('[[rule]]\nname = "deny-all"\nthen = "deny"\n')
NO_RULES = policy_of('[[rule]]\nname = "elsewhere"\nproject = "elsewhere"\nthen = "create"\n')
NOT_ALLOWED = asks(XTS_128)

STATES = pytest.mark.parametrize(
    "source",
    [None, held(volume()), held(volume(), state=KeyState.DESTROYED), Broken("does not verify")],
    ids=["gone", "there", "destroyed", "broken"],
)
POLICIES = pytest.mark.parametrize(
    "policy", [SHIPPED, DENY_ALL, NO_RULES], ids=["shipped", "deny", "none"]
)


@STATES
@POLICIES
@pytest.mark.parametrize(
    "encryption", [None, UNENCRYPTED, NOT_ALLOWED, RequestedEncryption("serpent", None)], ids=str
)
@pytest.mark.parametrize("derived_from", [volume(), snapshot(), None], ids=["-", "other", "none"])
def test_the_very_same_event_repeats_its_first_answer_whatever_it_says(
    source: State,
    policy: Policy,
    encryption: RequestedEncryption | Unencrypted | None,
    derived_from: Item | None,
) -> None:
    own = held(volume("v2"), volume())
    event = event_of(volume("v2"), derived_from, encryption=encryption)
    assert decide(event, own, source, policy) == Already(own)


@STATES
@POLICIES
@pytest.mark.parametrize("asked", [None, asks(XTS), RequestedEncryption(XTS.cipher, None)], ids=str)
def test_another_event_that_says_nothing_else_repeats_the_first_answer(
    source: State, policy: Policy, asked: RequestedEncryption | None
) -> None:
    own = held(volume("v2"), volume())
    event = event_of(volume("v2"), volume(), event_id="another", encryption=asked, requested=CREATE)
    assert decide(event, own, source, policy) == Already(own)


@POLICIES
def test_another_event_of_an_unencrypted_item_may_say_so(policy: Policy) -> None:
    own = held(volume(), encryption=None)
    for encryption in (None, UNENCRYPTED):
        event = event_of(volume(), event_id="another", encryption=encryption)
        assert decide(event, own, None, policy) == Already(own)


OTHERWISE: dict[str, tuple[Item | None, Item | None, str, str]] = {
    "blank, now derived": (None, volume(), "from no source", "from volume:v1"),
    "derived, now blank": (volume(), None, "from volume:v1", "from no source"),
    "image": (volume(), image(), "from volume:v1", "from image:i1"),
    "kind": (volume(), snapshot("v1"), "from volume:v1", "from snapshot:v1"),
    "id": (volume(), volume("v3"), "from volume:v1", "from volume:v3"),
    "project": (
        volume(), volume(project="p2"), "from volume:v1", "from volume:v1 of project p2",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("first", "now", "had", "says"), OTHERWISE.values(), ids=OTHERWISE)
def test_another_event_with_another_source_is_a_conflict(
    first: Item | None, now: Item | None, had: str, says: str
) -> None:
    event = event_of(volume("v2"), now, event_id="another")
    refusal = decide(event, held(volume("v2"), first), None, DENY_ALL)
    detail = f"volume:v2 is assigned already, {had}; this event says: {says}"
    assert refusal == Refuse(Reason.CONFLICT, detail)


ENCRYPTED_OTHERWISE: dict[str, tuple[Encryption | None, Any, str, str]] = {
    "plain, now encrypted": (
        None, asks(XTS), "no encryption", "aes-xts-plain64 of 512 bits",
    ),
    "encrypted, now plain": (XTS, UNENCRYPTED, "aes-xts-plain64 of 512 bits", "no encryption"),
    "another size": (
        XTS_256, asks(XTS), "aes-xts-plain64 of 256 bits", "aes-xts-plain64 of 512 bits",
    ),
    "another cipher": (
        XTS, RequestedEncryption("serpent", None), "aes-xts-plain64 of 512 bits", "serpent",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("first", "now", "had", "says"), ENCRYPTED_OTHERWISE.values(), ids=ENCRYPTED_OTHERWISE
)
def test_another_event_with_another_encryption_is_a_conflict(
    first: Encryption | None, now: Any, had: str, says: str
) -> None:
    event = event_of(volume(), event_id="another", encryption=now)
    refusal = decide(event, held(volume(), encryption=first), None, DENY_ALL)
    detail = f"volume:v1 is assigned already, with {had}; this event says: with {says}"
    assert refusal == Refuse(Reason.CONFLICT, detail)


def test_another_event_with_another_node_is_a_conflict_that_names_both() -> None:
    known = held(replica(), volume())
    first = replace(known, assignment=replace(known.assignment, node="obj-07"))
    event = replace(event_of(replica(), volume(), event_id="another"), node="obj-é\u202e12")
    refusal = decide(event, first, held(volume()), SHIPPED)
    detail = "replica:r1 is assigned already, on node obj-07; this event says: on node"
    assert refusal == Refuse(Reason.CONFLICT, detail + " obj-\\xe9\\u202e12")
    assert decide(replace(event, node="obj-07"), first, None, SHIPPED) == Already(first)


def test_the_same_id_of_another_producer_is_another_event() -> None:
    event = event_of(volume(), volume("v0"))
    event = replace(event, cause=event.cause._replace(source="/another"))
    refusal = decide(event, held(volume()), None, SHIPPED)
    assert isinstance(refusal, Refuse)
    assert refusal.reason is Reason.CONFLICT
