"""The design's tables, line by line, and what holds whatever the policy says."""

from dataclasses import replace
from itertools import combinations
from typing import Any, TypedDict, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmworker.domain.decision import Already, Create, Decision, Join, NoKey, Refuse, Wait, decide
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
    State,
    Transport,
)
from kmworker.domain.policy import IvUse, Policy
from kmworker.errors import Reason
from tests.kit.builders import (
    CBC,
    CTR,
    EVENT_TYPE,
    SHIPPED,
    UNLISTED,
    XTS,
    XTS_256,
    event_of,
    held,
    image,
    partition,
    policy_of,
    replica,
    snapshot,
    volume,
)

XTS_128 = Encryption("aes-xts-plain64", 128)
CREATE, CLONE, REUSE = Disposition.CREATE, Disposition.CLONE, Disposition.REUSE
ENCRYPT, REENCRYPT = DataAction.ENCRYPT, DataAction.REENCRYPT

DENY_ALL = policy_of('[[rule]]\nname = "deny-all"\nthen = "deny"\n')
NO_RULES = policy_of('[[rule]]\nname = "elsewhere"\nproject = "elsewhere"\nthen = "create"\n')


def asks(encryption: Encryption) -> RequestedEncryption:
    return RequestedEncryption(encryption.cipher, encryption.key_bits)


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

SHIPPED_TABLE = {
    "blank volume": (
        volume(), None, None,
        "create", "blank-volumes-get-a-key", DataAction.NONE,
    ),
    "volume from an image": (
        volume(), image(), None,
        "create", "volumes-from-images-get-a-key", ENCRYPT,
    ),
    "volume from another project's image": (
        volume(), image(project="p2"), None,
        "create", "volumes-from-images-get-a-key", ENCRYPT,
    ),
    "snapshot of a volume": (
        snapshot(), volume(), None,
        "reuse", "snapshots-share-the-key-id", DataAction.NONE,
    ),
    "volume from a snapshot": (
        volume("v2"), snapshot(), None,
        "clone", "derived-volumes-get-a-clone", DataAction.NONE,
    ),
    "volume from a volume": (
        volume("v2"), volume(), None,
        "clone", "derived-volumes-get-a-clone", DataAction.NONE,
    ),
    "volume from a replica": (
        volume("v2"), replica(), None,
        "clone", "derived-volumes-get-a-clone", DataAction.NONE,
    ),
    "replica of a volume by block": (
        replica(), volume(), Transport.BLOCK,
        "reuse", "replicas-share-the-key-id", DataAction.NONE,
    ),
    "replica of a volume by file": (
        replica(), volume(), Transport.FILE,
        "reuse", "replicas-share-the-key-id", DataAction.NONE,
    ),
    "replica of a volume, not said how": (
        replica(), volume(), None,
        "reuse", "replicas-share-the-key-id", DataAction.NONE,
    ),
    "replica of a snapshot by block": (
        replica(), snapshot(), Transport.BLOCK,
        "reuse", "replicas-share-the-key-id", DataAction.NONE,
    ),
    "replica of a volume, reencrypted": (
        replica(), volume(), Transport.REENCRYPT,
        "create", "reencrypted-replicas-get-a-key", REENCRYPT,
    ),
    "replica of a snapshot, reencrypted": (
        replica(), snapshot(), Transport.REENCRYPT,
        "create", "reencrypted-replicas-get-a-key", REENCRYPT,
    ),
    "partition, founded by a replica": (
        partition(), None, Transport.FILE,
        "create", "partitions-get-a-key", DataAction.NONE,
    ),
    "replica of a partition": (
        replica(), partition(), Transport.FILE,
        "reuse", "partition-replicas-share-the-key-id", DataAction.NONE,
    ),
    "replica of a partition, reencrypted": (
        replica(), partition(), Transport.REENCRYPT,
        "reuse", "partition-replicas-share-the-key-id", DataAction.NONE,
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("item", "source", "transport", "disposition", "rule", "data_action"),
    SHIPPED_TABLE.values(),
    ids=SHIPPED_TABLE,
)
def test_the_shipped_rules_give(
    *,
    item: Item,
    source: Item | None,
    transport: Transport | None,
    disposition: str,
    rule: str,
    data_action: DataAction,
) -> None:
    event = founding(item) if item.kind is Kind.PARTITION else event_of(item, source)
    event = replace(event, transport=transport)
    known = None if source is None or source.kind is Kind.IMAGE else held(source)
    decision = decide(event, None, known, SHIPPED)
    assert shortly(decision) == (disposition, rule)
    if isinstance(decision, Create):
        assert decision.encryption == XTS
        assert decision.data_action is data_action
        expected = f"key-{source.id}" if source and data_action is REENCRYPT else None
        assert decision.reencrypt_from == expected
    else:
        # It joins its source's scope, so the ciphertext fits as it is.
        assert isinstance(decision, Join)
        assert decision.source is known
        assert data_action is DataAction.NONE


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

SUSPENDED: Scene = {"state": KeyState.SUSPENDED}
COMPROMISED: Scene = {"state": KeyState.COMPROMISED}
OTHER_CIPHER: Scene = {"asks": asks(CBC)}
REENCRYPTED: Scene = {"transport": Transport.REENCRYPT}
BARE_ASKS: Scene = {"encryption": None, "asks": asks(CBC)}
BARE_ABROAD: Scene = {"encryption": None, "project": "p2"}
ABROAD = GUARDS["cross-project"]
OTHER_SIZE = GUARDS["encryption-differs"]
STREAM = GUARDS["iv-repeats"]
UNKNOWN = GUARDS["unknown-cipher"]
BARE = GUARDS["source-unencrypted"]

GUARD_TABLE = {
    "volume from another project's volume": (
        volume("v2"), volume(), ABROAD, "cross-project", XTS, REENCRYPT,
    ),
    "replica of another project's snapshot": (
        replica(), snapshot(), {**ABROAD, **REENCRYPTED}, "cross-project", XTS, REENCRYPT,
    ),
    "volume from another project's unencrypted volume": (
        volume("v2"), volume(), BARE_ABROAD, "cross-project", XTS, ENCRYPT,
    ),
    "volume that asks for another size": (
        volume("v2"), snapshot(), OTHER_SIZE, "encryption-differs", XTS_256, REENCRYPT,
    ),
    "volume that asks for another cipher": (
        volume("v2"), snapshot(), OTHER_CIPHER, "encryption-differs", CBC, REENCRYPT,
    ),
    "replica that asks for another cipher": (
        replica(), partition(), OTHER_CIPHER, "encryption-differs", CBC, REENCRYPT,
    ),
    "volume from a snapshot under a stream cipher": (
        volume("v2"), snapshot(), STREAM, "iv-repeats", CTR, REENCRYPT,
    ),
    "replica under a stream cipher": (
        replica(), volume(), {**STREAM, **REENCRYPTED}, "iv-repeats", CTR, REENCRYPT,
    ),
    "replica of a partition under a stream cipher": (
        replica(), partition(), {**STREAM, **REENCRYPTED}, "iv-repeats", CTR, REENCRYPT,
    ),
    "volume under an unlisted cipher": (
        volume("v2"), volume(), UNKNOWN, "unknown-cipher", UNLISTED, REENCRYPT,
    ),
    "replica under an unlisted cipher": (
        replica(), volume(), {**UNKNOWN, **REENCRYPTED}, "unknown-cipher", UNLISTED, REENCRYPT,
    ),
    "volume from a volume with a suspended key": (
        volume("v2"), volume(), SUSPENDED, "source-not-active", XTS, REENCRYPT,
    ),
    "volume from a volume with a compromised key": (
        volume("v2"), volume(), COMPROMISED, "source-not-active", XTS, REENCRYPT,
    ),
    "snapshot of an unencrypted volume": (
        snapshot(), volume(), BARE, "source-unencrypted", None, DataAction.NONE,
    ),
    "volume from an unencrypted snapshot": (
        volume("v2"), snapshot(), BARE, "source-unencrypted", XTS, ENCRYPT,
    ),
    "replica of an unencrypted partition": (
        replica(), partition(), BARE, "source-unencrypted", None, DataAction.NONE,
    ),
    "volume with its own encryption from an unencrypted one": (
        volume("v2"), volume(), BARE_ASKS, "source-unencrypted", CBC, ENCRYPT,
    ),
    "replica with its own encryption of an unencrypted snapshot": (
        replica(), snapshot(), BARE_ASKS, "source-unencrypted", CBC, ENCRYPT,
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("item", "source", "scene", "guard", "encryption", "data_action"),
    GUARD_TABLE.values(),
    ids=GUARD_TABLE,
)
def test_a_guard_gives(
    *,
    item: Item,
    source: Item,
    scene: Scene,
    guard: str,
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
    assert {guard for _item, _source, _scene, guard, *_rest in GUARD_TABLE.values()} == set(GUARDS)


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
def test_a_rule_that_denies_stands_above_a_guard(guard: str) -> None:
    event, known = staged(GUARDS[guard], volume("v2"), volume())
    assert shortly(decide(event, None, known, DENY_ALL)) == ("refuse", "policy-denied")


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


def test_the_first_rule_that_matches_decides_not_a_later_one() -> None:
    policy = policy_of(
        '[[rule]]\nname = "gold"\nsource = "volume"\nproject = "p1"\nthen = "reuse"\n'
        '[[rule]]\nname = "rest"\nsource = "volume"\nthen = "clone"\n'
    )
    one = decide(event_of(snapshot(), volume()), None, held(volume()), policy)
    other = volume(project="p2")
    two = decide(event_of(snapshot(project="p2"), other), None, held(other), policy)
    assert (shortly(one), shortly(two)) == (("reuse", "gold"), ("clone", "rest"))


def test_a_rules_cipher_is_the_one_that_the_item_would_use() -> None:
    policy = policy_of(
        '[[rule]]\nname = "stream"\ncipher = "aes-ctr-*"\nthen = "create"\n'
        '[[rule]]\nname = "half"\nsource = "volume"\ncipher = "aes-xts-*"\nthen = "reuse"\n'
        '[[rule]]\nname = "rest"\nthen = "create"\n'
    )
    by_event = decide(event_of(volume(), encryption=asks(CTR)), None, None, policy)
    by_source = decide(event_of(snapshot(), volume()), None, held(volume()), policy)
    by_default = decide(event_of(volume()), None, None, policy)
    assert [shortly(decision)[1] for decision in (by_event, by_source, by_default)] == [
        "stream", "half", "rest",
    ]  # fmt: skip


# --- key states -------------------------------------------------------------------

DESTROYED_DETAIL = "the key of volume:v1 is destroyed"
BY_STATE = {
    KeyState.ACTIVE: ("clone", "derived-volumes-get-a-clone"),
    KeyState.SUSPENDED: ("create", "guard:source-not-active"),
    KeyState.COMPROMISED: ("create", "guard:source-not-active"),
    KeyState.DESTROYED: ("refuse", "source-unusable"),
}


@pytest.mark.parametrize("state", KeyState)
def test_a_source_key_is_shared_by_its_state(state: KeyState) -> None:
    event = event_of(volume("v2"), volume())
    assert shortly(decide(event, None, held(volume(), state=state), SHIPPED)) == BY_STATE[state]


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


# --- which encryption -------------------------------------------------------------

BY_TYPE = """
[[default_encryption]]
volume_type = "stream"
cipher = "aes-ctr-plain64"

[[default_encryption]]
volume_type = "bare"
cipher = "none"

[[default_encryption]]
cipher = "aes-xts-plain64"
key_bits = 256
"""
CREATE_ALL = policy_of('[[rule]]\nname = "all"\nthen = "create"\n', defaults=BY_TYPE)

ENCRYPTIONS: dict[str, tuple[Event, Held | None, Encryption | None]] = {
    "blank, nothing asked: the default": (event_of(volume()), None, XTS_256),
    "blank, nothing asked: the default of its type": (
        event_of(volume(), volume_type="stream"), None, CTR,
    ),
    "blank, nothing asked, of a type that is not encrypted": (
        event_of(volume(), volume_type="bare"), None, None,
    ),
    "blank, a cipher alone: its first size": (
        event_of(volume(), encryption=RequestedEncryption(XTS.cipher, None)), None, XTS,
    ),
    "blank, cipher and size: as asked": (event_of(volume(), encryption=asks(XTS)), None, XTS),
    "blank, of a type that is not encrypted, asked": (
        event_of(volume(), volume_type="bare", encryption=asks(CTR)), None, CTR,
    ),
    "from an image, nothing asked: the default": (event_of(volume(), image()), None, XTS_256),
    "derived, nothing asked: the source's, not the default": (
        event_of(volume("v2"), volume()), held(volume(), encryption=XTS), XTS,
    ),
    "derived, the source's cipher alone: the source's size": (
        event_of(volume("v2"), volume(), encryption=RequestedEncryption(XTS.cipher, None)),
        held(volume(), encryption=XTS_256),
        XTS_256,
    ),
    "derived, another cipher alone: its first size": (
        event_of(volume("v2"), volume(), encryption=RequestedEncryption(CTR.cipher, None)),
        held(volume(), encryption=XTS),
        CTR,
    ),
    "from another project, nothing asked: the source's": (
        event_of(volume("v2"), volume(project="p2")), held(volume(project="p2")), XTS,
    ),
    "from another project, the source's cipher alone: the source's size": (
        event_of(
            volume("v2"), volume(project="p2"), encryption=RequestedEncryption(XTS.cipher, None)
        ),
        held(volume(project="p2"), encryption=XTS_256),
        XTS_256,
    ),
    "from another project's unencrypted volume, nothing asked: the default": (
        event_of(volume("v2"), volume(project="p2")),
        held(volume(project="p2"), encryption=None),
        XTS_256,
    ),
    "from another project's unencrypted volume, of a type that is not encrypted": (
        event_of(volume("v2"), volume(project="p2"), volume_type="bare"),
        held(volume(project="p2"), encryption=None),
        None,
    ),
    "from an unencrypted volume, nothing asked: the default": (
        event_of(volume("v2"), volume()), held(volume(), encryption=None), XTS_256,
    ),
    "from an unencrypted volume, of a type that is not encrypted": (
        event_of(volume("v2"), volume(), volume_type="bare"),
        held(volume(), encryption=None),
        None,
    ),
    "from an unencrypted volume, a cipher alone: its first size": (
        event_of(volume("v2"), volume(), encryption=RequestedEncryption(XTS.cipher, None)),
        held(volume(), encryption=None),
        XTS,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("event", "source", "expected"), ENCRYPTIONS.values(), ids=ENCRYPTIONS)
def test_an_item_of_its_own_scope_is_encrypted_with(
    event: Event, source: Held | None, expected: Encryption | None
) -> None:
    decision = decide(event, None, source, CREATE_ALL)
    if expected is None:
        assert isinstance(decision, NoKey)
    else:
        assert isinstance(decision, Create)
        assert decision.encryption == expected


def test_asking_for_the_sources_very_encryption_is_no_difference() -> None:
    event = event_of(volume("v2"), volume(), encryption=asks(XTS_256))
    decision = decide(event, None, held(volume(), encryption=XTS_256), SHIPPED)
    assert shortly(decision) == ("clone", "derived-volumes-get-a-clone")


def test_asking_for_the_sources_cipher_alone_is_no_difference() -> None:
    event = event_of(volume("v2"), volume(), encryption=RequestedEncryption(XTS.cipher, None))
    decision = decide(event, None, held(volume(), encryption=XTS_256), SHIPPED)
    assert shortly(decision) == ("clone", "derived-volumes-get-a-clone")


@pytest.mark.parametrize(
    ("event", "source"),
    [
        (event_of(volume(), encryption=UNENCRYPTED), None),
        (event_of(volume(), image(), encryption=UNENCRYPTED), None),
        (event_of(volume("v2"), volume(), encryption=UNENCRYPTED), held(volume(), encryption=None)),
    ],
    ids=["blank", "from an image", "from an unencrypted one"],
)
def test_an_item_that_says_it_is_not_encrypted_gets_no_key(
    event: Event, source: Held | None
) -> None:
    assert decide(event, None, source, SHIPPED) == NoKey("guard:not-encrypted")


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
def test_a_rule_that_denies_refuses_the_event_by_its_name(source: Item | None) -> None:
    known = held(volume()) if source == volume() else None
    refusal = decide(event_of(volume("v2"), source), None, known, DENY_ALL)
    assert refusal == Refuse(Reason.POLICY_DENIED, "rule deny-all denies it")


@pytest.mark.parametrize("source", [None, image(), volume()], ids=["blank", "image", "derived"])
def test_what_no_rule_matches_is_denied(source: Item | None) -> None:
    known = held(volume()) if source == volume() else None
    refusal = decide(event_of(volume("v2"), source), None, known, NO_RULES)
    assert refusal == Refuse(Reason.POLICY_DENIED, "no rule of the policy matches")


@pytest.mark.parametrize("source", [None, image()], ids=["blank", "image"])
def test_a_rule_may_say_that_an_item_is_not_encrypted(source: Item | None) -> None:
    policy = policy_of('[[rule]]\nname = "bare"\nthen = "none"\n')
    assert decide(event_of(volume("v2"), source), None, None, policy) == NoKey("bare")


def test_an_event_whose_source_is_unknown_waits() -> None:
    assert decide(event_of(snapshot(), volume()), None, None, SHIPPED) == Wait()


@pytest.mark.parametrize("encryption", [None, UNENCRYPTED, asks(XTS)], ids=["-", "null", "own"])
def test_it_waits_whatever_it_asks_for(
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


# --- an item that is assigned already ---------------------------------------------


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
    assert shortly(decide(event, held(volume()), None, SHIPPED)) == ("refuse", "conflict")


# --- whatever comes ---------------------------------------------------------------

T = TypeVar("T")


def mostly(usual: T, *others: T) -> st.SearchStrategy[T]:
    """What most events are like, or else one of the others: rare together, each is common."""
    return st.sampled_from([usual] * 3 + [*others])


SOURCE_KINDS = {
    "volume-created": [Kind.VOLUME, Kind.SNAPSHOT, Kind.REPLICA, Kind.IMAGE],
    "snapshot-taken": [Kind.VOLUME],
    "replica-added": [Kind.VOLUME, Kind.SNAPSHOT, Kind.PARTITION],
}
RULES = """
[[rule]]
name = "first"
event = "{event}"
source = ["volume", "snapshot"]
then = "{then}"
allow_requested = {ear}

[[rule]]
name = "second"
source = "{source}"
then = "create"
"""


@st.composite
def events(draw: st.DrawFn) -> Event:
    item = Item("p1", draw(st.sampled_from(sorted(EVENT_TYPE))), "new")
    kinds = SOURCE_KINDS[EVENT_TYPE[item.kind]]
    source = Item(draw(mostly("p1", "p2")), draw(st.sampled_from(kinds)), "old")
    blank = item.kind is Kind.VOLUME and draw(st.booleans())
    requested = RequestedEncryption(
        draw(mostly(XTS.cipher, CTR.cipher, UNLISTED.cipher)),
        draw(mostly(256, 512, None, 129, 8192)),
    )
    event = event_of(
        item,
        None if blank else source,
        encryption=draw(mostly(None, UNENCRYPTED, requested)),
        requested=draw(st.sampled_from([None, CREATE, CLONE, REUSE])),
        transport=draw(st.sampled_from([None, *Transport])),
    )
    return replace(event, is_shared=not blank and draw(mostly(False, True)))


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    then = draw(st.sampled_from(["create", "clone", "reuse", "none", "deny"]))
    text = RULES.format(
        event=draw(st.sampled_from(["*", "volume-created", "replica-*"])),
        then=then,
        ear="true" if then != "deny" and draw(st.booleans()) else "false",
        source=draw(st.sampled_from(["*", "none", "partition"])),
    )
    default = draw(st.sampled_from(["none", "refuse", "aes-xts-plain64", "aes-ctr-plain64"]))
    text = f'decrypted_copies = "{draw(st.sampled_from(["allow", "deny"]))}"\n' + text
    return policy_of(text, defaults=f'[[default_encryption]]\ncipher = "{default}"\n')


@st.composite
def states(draw: st.DrawFn, item: Item, source: Item | None, event_id: str | None = None) -> State:
    """What may be known of an item: an assignment mostly, nothing, or something broken."""
    form = draw(mostly("keyed", "bare", "absent", "broken"))
    if form == "absent":
        return None
    if form == "broken":
        return Broken(f"{item.ref} does not verify")
    encryption = draw(mostly(XTS, XTS_256, CTR, UNLISTED, XTS_128)) if form == "keyed" else None
    state = draw(mostly(KeyState.ACTIVE, *KeyState))
    return held(item, source, encryption=encryption, state=state, event_id=event_id)


@settings(max_examples=200)
@given(
    events(), st.data(), mostly(SHIPPED, None).flatmap(lambda p: st.just(p) if p else policies())
)
def test_every_event_is_decided_and_no_decision_breaks_a_rule_of_the_design(
    event: Event, data: st.DataObject, policy: Policy
) -> None:
    own: State = None
    if data.draw(mostly(False, True)):
        assigned_from = data.draw(st.sampled_from([event.derived_from, None, volume("elsewhere")]))
        event_id = data.draw(st.sampled_from([None, "another"]))
        own = data.draw(states(event.item, assigned_from, event_id))
    source: State = None
    if event.derived_from is not None and event.derived_from.kind is not Kind.IMAGE:
        source = data.draw(states(event.derived_from, None))
    decision = decide(event, own, source, policy)
    assert decision == decide(event, own, source, policy)
    match decision:
        case Already(known):
            assert known is own
            is_its_own = known.assignment.cause.id == event.cause.id
            assert is_its_own or known.assignment.source == event.derived_from
        case Join():
            assert own is None
            assert_sharing_is_safe(event, decision, source, policy)
        case Create():
            assert own is None
            assert not is_as_it_is(event)
            assert_new_scope_is_sound(decision, source, policy)
        case Wait():
            assert own is None
            assert source is None
            assert event.derived_from is not None
        case NoKey() | Refuse():
            assert own is None or isinstance(decision, Refuse)


def is_as_it_is(event: Event) -> bool:
    """The contract's two kinds of copies."""
    if event.item.kind is Kind.REPLICA:
        silent = event.transport is None and event.encryption is None
        return silent or event.transport in {Transport.BLOCK, Transport.FILE}
    return event.item.kind is Kind.SNAPSHOT or event.is_shared


def assert_sharing_is_safe(event: Event, join: Join, source: State, policy: Policy) -> None:
    assert join.disposition in {CLONE, REUSE}
    assert join.source is source
    assert isinstance(source, Held)
    assert source.key is not None
    assert source.scope is not None
    assert source.assignment.item.project == event.item.project
    assert event.encryption is not UNENCRYPTED
    if isinstance(event.encryption, RequestedEncryption):
        assert event.encryption.cipher == source.scope.encryption.cipher
        assert event.encryption.key_bits in {None, source.scope.encryption.key_bits}
    listed = policy.listed(source.scope.encryption.cipher)
    is_doubtful = (
        source.key.state is not KeyState.ACTIVE
        or listed is None
        or listed.iv is IvUse.POSITIONAL_STREAM
    )
    # What is there cannot be helped, and is named.
    assert is_doubtful is join.rule.startswith("guard:")
    assert not is_doubtful or is_as_it_is(event)


def assert_new_scope_is_sound(create: Create, source: State, policy: Policy) -> None:
    listed = policy.listed(create.encryption.cipher)
    assert create.encryption.key_bits % 8 == 0
    assert listed is None or create.encryption.key_bits in listed.key_bits
    if create.data_action is REENCRYPT:
        assert isinstance(source, Held)
        assert source.key is not None
        assert source.key.state is not KeyState.DESTROYED
        assert create.reencrypt_from == source.key.key_id
    else:
        assert create.reencrypt_from is None
        assert not isinstance(source, Held) or source.key is None
