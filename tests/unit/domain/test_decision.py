"""The design's tables, line by line, and what holds whatever the policy says."""

from dataclasses import replace
from itertools import combinations
from typing import Any, TypedDict

import pytest

from kmworker.domain.decision import Create, Decision, Join, NoKey, Refuse, Wait, decide
from kmworker.domain.event import UNENCRYPTED, Event, RequestedEncryption, Unencrypted
from kmworker.domain.model import (
    Broken,
    DataAction,
    Disposition,
    Encryption,
    Held,
    Item,
    KeyState,
    Kind,
    Transport,
)
from kmworker.errors import Reason
from tests.kit.builders import (
    CBC,
    CTR,
    SHIPPED,
    UNLISTED,
    XTS,
    XTS_128,
    XTS_256,
    asks,
    event_of,
    held,
    image,
    partition,
    policy_of,
    replica,
    snapshot,
    volume,
)

CREATE, CLONE, REUSE = Disposition.CREATE, Disposition.CLONE, Disposition.REUSE
NONE, ENCRYPT, REENCRYPT = DataAction.NONE, DataAction.ENCRYPT, DataAction.REENCRYPT

DENY_ALL = policy_of('[[rule]]\nname = "deny-all"\nthen = "deny"\n')
NO_RULES = policy_of('[[rule]]\nname = "elsewhere"\nproject = "elsewhere"\nthen = "create"\n')


def shortly(decision: Decision) -> tuple[str, str]:
    """What was decided, and by which rule or guard."""
    match decision:
        case Create(rule=rule):
            return "create", rule
        case Join(disposition, _source, rule):
            return disposition.value, rule
        case NoKey(rule):
            return "none", rule
        case Refuse(reason):
            return "refuse", reason.value
        case _:
            return type(decision).__name__.lower(), ""


# --- the table of what is shipped -------------------------------------------------

# What the shipped rules say of an item, by its source and how its data travels.
Derived = tuple[Item, Item | None, Transport | None]
SHIPPED_TABLE: dict[tuple[str, str, DataAction], list[Derived]] = {
    ("create", "blank-volumes-get-a-key", NONE): [(volume(), None, None)],
    ("create", "volumes-from-images-get-a-key", ENCRYPT): [
        (volume(), image(), None), (volume(), image(project="p2"), None),
    ],
    ("reuse", "snapshots-share-the-key-id", NONE): [(snapshot(), volume(), None)],
    ("clone", "derived-volumes-get-a-clone", NONE): [
        (volume("v2"), snapshot(), None), (volume("v2"), volume(), None),
        (volume("v2"), replica(), None),
    ],
    ("reuse", "replicas-share-the-key-id", NONE): [
        (replica(), volume(), Transport.BLOCK), (replica(), volume(), Transport.FILE),
        (replica(), volume(), None), (replica(), snapshot(), Transport.BLOCK),
    ],
    ("create", "reencrypted-replicas-get-a-key", REENCRYPT): [
        (replica(), volume(), Transport.REENCRYPT), (replica(), snapshot(), Transport.REENCRYPT),
    ],
    ("create", "partitions-get-a-key", NONE): [(partition(), None, Transport.FILE)],
    ("reuse", "partition-replicas-share-the-key-id", NONE): [
        (replica(), partition(), Transport.FILE), (replica(), partition(), Transport.REENCRYPT),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("item", "source", "transport", "expected"),
    [
        pytest.param(
            item, source, transport, expected,
            id=f"{item.kind} of {source and source.project + ' ' + source.kind}, {transport}",
        )
        for expected, rows in SHIPPED_TABLE.items()
        for item, source, transport in rows
    ],
)  # fmt: skip
def test_the_shipped_rules_give(
    item: Item,
    source: Item | None,
    transport: Transport | None,
    expected: tuple[str, str, DataAction],
) -> None:
    event = founding(item) if item.kind is Kind.PARTITION else event_of(item, source)
    event = replace(event, transport=transport)
    known = None if source is None or source.kind is Kind.IMAGE else held(source)
    decision = decide(event, None, known, SHIPPED)
    disposition, rule, data_action = expected
    assert shortly(decision) == (disposition, rule)
    if isinstance(decision, Create):
        assert decision.encryption == XTS
        assert decision.data_action is data_action
        expected_from = f"key-{source.id}" if source and data_action is REENCRYPT else None
        assert decision.reencrypt_from == expected_from
    else:
        # It joins its source's scope, so the ciphertext fits as it is.
        assert isinstance(decision, Join)
        assert decision.source is known


def founding(item: Item) -> Event:
    """The event of a partition's first replica, as it is read for the partition itself."""
    return replace(event_of(replica(project=item.project)), item=item)


# --- the table of guards ----------------------------------------------------------


class Scene(TypedDict, total=False):
    """An event and its source, as far as guards look at them."""

    project: str
    asks: RequestedEncryption
    encryption: Encryption | None
    state: KeyState
    transport: Transport


def staged(scene: Scene, item: Item, source: Item, **more: Any) -> tuple[Event, Held]:
    """An event that derives ``item`` from ``source``."""
    source = source._replace(project=scene.get("project", source.project))
    known = held(
        source,
        encryption=scene.get("encryption", XTS),
        state=scene.get("state", KeyState.ACTIVE),
    )
    event = event_of(
        item, source, encryption=scene.get("asks"), transport=scene.get("transport"), **more
    )
    return event, known


# In the order of the design's table: of two that apply, the upper one decides.
GUARDS: dict[str, Scene] = {
    "cross-project": {"project": "p2"},
    "encryption-differs": {"asks": asks(XTS_256)},
    "unknown-cipher": {"encryption": UNLISTED},
    "iv-repeats": {"encryption": CTR},
    "source-not-active": {"state": KeyState.SUSPENDED},
    "source-unencrypted": {"encryption": None},
}

ABROAD, OTHER_SIZE, UNKNOWN, STREAM, SUSPENDED, BARE = GUARDS.values()
COMPROMISED: Scene = {"state": KeyState.COMPROMISED}
OTHER_CIPHER: Scene = {"asks": asks(CBC)}
REENCRYPTED: Scene = {"transport": Transport.REENCRYPT}
BARE_ASKS: Scene = {**BARE, **OTHER_CIPHER}
COPY = volume("v2")

# What each guard gives: the encryption of a scope of its own, and what is done with the data.
GUARD_TABLE: dict[str, list[tuple[Item, Item, Scene, Encryption | None, DataAction]]] = {
    "cross-project": [
        (COPY, volume(), ABROAD, XTS, REENCRYPT),
        (replica(), snapshot(), {**ABROAD, **REENCRYPTED}, XTS, REENCRYPT),
        (COPY, volume(), {**ABROAD, **BARE}, XTS, ENCRYPT),
    ],
    "encryption-differs": [
        (COPY, snapshot(), OTHER_SIZE, XTS_256, REENCRYPT),
        (COPY, snapshot(), OTHER_CIPHER, CBC, REENCRYPT),
        (replica(), partition(), OTHER_CIPHER, CBC, REENCRYPT),
    ],
    "iv-repeats": [
        (COPY, snapshot(), STREAM, CTR, REENCRYPT),
        (replica(), volume(), {**STREAM, **REENCRYPTED}, CTR, REENCRYPT),
        (replica(), partition(), {**STREAM, **REENCRYPTED}, CTR, REENCRYPT),
    ],
    "unknown-cipher": [
        (COPY, volume(), UNKNOWN, UNLISTED, REENCRYPT),
        (replica(), volume(), {**UNKNOWN, **REENCRYPTED}, UNLISTED, REENCRYPT),
    ],
    "source-not-active": [
        (COPY, volume(), SUSPENDED, XTS, REENCRYPT), (COPY, volume(), COMPROMISED, XTS, REENCRYPT),
    ],
    "source-unencrypted": [
        (snapshot(), volume(), BARE, None, NONE),
        (COPY, snapshot(), BARE, XTS, ENCRYPT),
        (replica(), partition(), BARE, None, NONE),
        (COPY, volume(), BARE_ASKS, CBC, ENCRYPT),
        (replica(), snapshot(), BARE_ASKS, CBC, ENCRYPT),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("guard", "item", "source", "scene", "encryption", "data_action"),
    [(guard, *row) for guard, rows in GUARD_TABLE.items() for row in rows],
)
def test_a_guard_gives(
    *,
    guard: str,
    item: Item,
    source: Item,
    scene: Scene,
    encryption: Encryption | None,
    data_action: DataAction,
) -> None:
    event, known = staged(scene, item, source)
    expected: Decision = NoKey(f"guard:{guard}")
    if encryption is not None:
        reencrypt_from = f"key-{source.id}" if data_action is REENCRYPT else None
        expected = Create(encryption, f"guard:{guard}", data_action, reencrypt_from)
    assert decide(event, None, known, SHIPPED) == expected


def test_every_guard_is_in_the_table() -> None:
    assert GUARD_TABLE.keys() == GUARDS.keys()


# A source has one encryption, and one that is not encrypted has neither key nor cipher.
EXCLUDE_EACH_OTHER = {
    ("encryption-differs", "source-unencrypted"),
    ("iv-repeats", "unknown-cipher"),
    ("iv-repeats", "source-unencrypted"),
    ("unknown-cipher", "source-unencrypted"),
    ("source-not-active", "source-unencrypted"),
}


@pytest.mark.parametrize(
    ("upper", "lower"),
    [pair for pair in combinations(GUARDS, 2) if pair not in EXCLUDE_EACH_OTHER],
)
def test_of_two_guards_the_upper_one_decides(upper: str, lower: str) -> None:
    scene: Scene = {**GUARDS[lower], **GUARDS[upper]}
    event, known = staged(scene, volume("v2"), volume())
    assert shortly(decide(event, None, known, SHIPPED)) == ("create", f"guard:{upper}")


# --- precedence -------------------------------------------------------------------


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("requested", [CREATE, CLONE, REUSE])
def test_a_guard_stands_above_a_requested_disposition(guard: str, requested: Disposition) -> None:
    event, known = staged(GUARDS[guard], volume("v2"), volume(), requested=requested)
    assert shortly(decide(event, None, known, SHIPPED))[1] == f"guard:{guard}"


@pytest.mark.parametrize("requested", [CREATE, CLONE, REUSE])
@pytest.mark.parametrize(
    ("item", "source"),
    [
        (volume("v2"), volume()),
        (replica(), partition()),
        (replica(), snapshot()),
    ],
    ids=["volume", "replica of a partition", "replica"],
)
def test_the_shipped_rules_hear_the_requested_disposition_of_everything_that_is_written_anew(
    item: Item, source: Item, requested: Disposition
) -> None:
    transport = Transport.REENCRYPT if item.kind is Kind.REPLICA else None
    event = event_of(item, source, requested=requested, transport=transport)
    decision = decide(event, None, held(source), SHIPPED)
    rule = shortly(decide(replace(event, requested=None), None, held(source), SHIPPED))[1]
    assert shortly(decision) == (requested.value, rule)
    if requested is CREATE:
        assert decision == Create(XTS, rule, REENCRYPT, f"key-{source.id}")


@pytest.mark.parametrize("requested", [CREATE, CLONE, REUSE])
@pytest.mark.parametrize(
    ("then", "expected"),
    [
        ("create", ("create", "deaf")),
        ("clone", ("clone", "deaf")),
        ("reuse", ("reuse", "deaf")),
        ("none", ("none", "deaf")),
        ("deny", ("refuse", "policy-denied")),
    ],
)
def test_a_rule_that_does_not_allow_requested_stands_above_them(
    then: str, expected: tuple[str, str], requested: Disposition
) -> None:
    policy = policy_of(
        f'decrypted_copies = "allow"\n[[rule]]\nname = "deaf"\nsource = "volume"\nthen = "{then}"\n'
    )
    event = event_of(volume("v2"), volume(), requested=requested)
    assert shortly(decide(event, None, held(volume()), policy)) == expected


@pytest.mark.parametrize("requested", [CREATE, CLONE, REUSE])
@pytest.mark.parametrize("then", ["create", "none", "deny"])
@pytest.mark.parametrize("source", [None, image()], ids=["blank", "from an image"])
def test_what_has_no_source_to_share_with_has_no_choice(
    then: str, source: Item | None, requested: Disposition
) -> None:
    ear = "" if then == "deny" else "allow_requested = true\n"
    policy = policy_of(f'[[rule]]\nname = "all"\nthen = "{then}"\n{ear}')
    choosing = decide(event_of(volume(), source, requested=requested), None, None, policy)
    assert choosing == decide(event_of(volume(), source), None, None, policy)


# --- key states -------------------------------------------------------------------

DESTROYED_DETAIL = "the key of volume:v1 is destroyed"


@pytest.mark.parametrize("guard", [name for name in GUARDS if name != "source-unencrypted"])
def test_a_destroyed_source_is_unusable_whatever_else_it_is(guard: str) -> None:
    scene: Scene = {**GUARDS[guard], "state": KeyState.DESTROYED}
    event, known = staged(scene, volume("v2"), volume())
    refusal = decide(event, None, known, SHIPPED)
    assert refusal == Refuse(Reason.SOURCE_UNUSABLE, DESTROYED_DETAIL)


def test_a_destroyed_source_is_unusable_for_an_unencrypted_item_too() -> None:
    event = event_of(volume("v2"), volume(), encryption=UNENCRYPTED)
    known = held(volume(), state=KeyState.DESTROYED)
    refusal = decide(event, None, known, SHIPPED)
    assert refusal == Refuse(Reason.SOURCE_UNUSABLE, DESTROYED_DETAIL)


# --- refusals ---------------------------------------------------------------------

NOT_ALLOWED = asks(XTS_128)


@pytest.mark.parametrize("source", [None, volume(), image()], ids=["blank", "derived", "image"])
def test_a_size_that_is_not_allowed_is_denied(source: Item | None) -> None:
    event = event_of(volume("v2"), source, encryption=NOT_ALLOWED)
    known = held(volume()) if source == volume() else None
    refusal = decide(event, None, known, SHIPPED)
    detail = "a key of 128 bits is not allowed for its cipher"
    assert refusal == Refuse(Reason.POLICY_DENIED, detail)


def test_a_sources_size_that_is_no_longer_allowed_is_not_given_to_a_new_scope() -> None:
    event = event_of(replica(), volume(), transport=Transport.REENCRYPT)
    refusal = decide(event, None, held(volume(), encryption=XTS_128), SHIPPED)
    assert shortly(refusal) == ("refuse", "policy-denied")


@pytest.mark.parametrize("key_bits", [None, 128, 129, 512])
@pytest.mark.parametrize(
    ("cipher", "hint"),
    [
        ("AES-XTS-PLAIN64", "did you mean aes-xts-plain64?"),
        ("aes-gcm-256", "did you mean aes-256-gcm?"),
        ("serpent", "kmworker explain shows those it lists"),
        ("", "kmworker explain shows those it lists"),
    ],
)
def test_an_unlisted_cipher_is_denied_with_the_nearest_listed_name(
    cipher: str, hint: str, key_bits: int | None
) -> None:
    event = event_of(volume(), encryption=RequestedEncryption(cipher, key_bits))
    detail = f"the policy does not list the cipher {cipher}; {hint}"
    assert decide(event, None, None, SHIPPED) == Refuse(Reason.POLICY_DENIED, detail)


@pytest.mark.parametrize(
    "requested", [NOT_ALLOWED, RequestedEncryption("serpent", None)], ids=["size", "cipher"]
)
def test_what_no_source_could_mend_is_refused_without_waiting_for_one(
    requested: RequestedEncryption,
) -> None:
    event = event_of(volume("v2"), volume(), encryption=requested)
    assert isinstance(decide(event, None, None, SHIPPED), Refuse)


@pytest.mark.parametrize("source", [None, image(), volume()], ids=["blank", "image", "derived"])
def test_what_no_rule_matches_is_denied(source: Item | None) -> None:
    known = held(volume()) if source == volume() else None
    refusal = decide(event_of(volume("v2"), source), None, known, NO_RULES)
    assert refusal == Refuse(Reason.POLICY_DENIED, "no rule of the policy matches")


@pytest.mark.parametrize("source", [None, image()], ids=["blank", "image"])
def test_a_rule_may_say_that_an_item_is_not_encrypted(source: Item | None) -> None:
    policy = policy_of('[[rule]]\nname = "bare"\nthen = "none"\n')
    assert decide(event_of(volume("v2"), source), None, None, policy) == NoKey("bare")


@pytest.mark.parametrize("encryption", [None, UNENCRYPTED, asks(XTS)], ids=["-", "null", "own"])
def test_an_event_whose_source_is_unknown_waits_whatever_it_asks_for(
    encryption: RequestedEncryption | Unencrypted | None,
) -> None:
    event = event_of(volume("v2"), volume(project="p2"), encryption=encryption)
    assert decide(event, None, None, DENY_ALL) == Wait()


def test_a_source_whose_records_are_broken_is_an_incident() -> None:
    broken = Broken("volume:v1 does not verify")
    refusal = decide(event_of(snapshot(), volume()), None, broken, SHIPPED)
    assert refusal == Refuse(Reason.INTEGRITY, "volume:v1 does not verify")


def test_an_item_whose_records_are_broken_is_an_incident_whatever_the_source() -> None:
    broken = Broken("snapshot:s1 does not verify")
    for source in (None, held(volume()), Broken("volume:v1 does not verify")):
        refusal = decide(event_of(snapshot(), volume()), broken, source, SHIPPED)
        assert refusal == Refuse(Reason.INTEGRITY, "snapshot:s1 does not verify")
