"""The contract's table of what must be done with the data: every cell, for every kind of copy."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest

from kmworker.domain.decision import (
    Already,
    Bury,
    Create,
    Decision,
    Gone,
    Join,
    Late,
    NoKey,
    Refuse,
    Wait,
    decide,
)
from kmworker.domain.event import UNENCRYPTED, Event, RequestedEncryption, Unencrypted
from kmworker.domain.model import (
    DataAction,
    Disposition,
    Encryption,
    Held,
    Item,
    KeyState,
    Transport,
)
from kmworker.domain.policy import Policy
from kmworker.errors import Reason
from tests.kit.builders import (
    CBC,
    CIPHERS,
    CTR,
    SHIPPED,
    UNLISTED,
    XTS,
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

Says = RequestedEncryption | Unencrypted | None
Build = Callable[[Says], Event | None]

RULES = '[[rule]]\nname = "joined"\nsource = ["volume", "snapshot", "replica"]\nthen = "clone"\n'
IMAGES = '[[rule]]\nname = "images"\nsource = "image"\nthen = "create"\n'
PLAIN_BY_DEFAULT = '[[default_encryption]]\ncipher = "none"\n'
REFUSING = '[[default_encryption]]\ncipher = "refuse"\n'


def policy_with_cbc(rules: str) -> Policy:
    """A policy that lists one cipher more."""
    cbc = '[[cipher]]\nname = "aes-cbc-essiv:sha256"\nkey_bits = [256]\niv = "tweak"\n'
    return policy_of(rules, ciphers=CIPHERS + cbc)


JOINING = policy_with_cbc(RULES + IMAGES)
DECRYPTING = policy_with_cbc('decrypted_copies = "allow"\n' + RULES + IMAGES)

SOURCE = volume("source")


def built(forms: dict[str, Build], form: str, says: Says) -> Event:
    """The event of a form that can say this."""
    event = forms[form](says)
    assert event is not None
    return event


def copied(item: Item, says: Says, transport: Transport | None = None, **more: bool) -> Event:
    event = event_of(item, SOURCE, encryption=says, transport=transport)
    return replace(event, is_shared=more.get("is_shared", False))


SAYS: dict[str, Says] = {
    "its source's cipher": asks(XTS),
    "another cipher": asks(XTS_256),
    "nothing": None,
    "null": UNENCRYPTED,
}
REWRITTEN: dict[str, Build] = {
    "a volume": lambda says: copied(volume("copy"), says),
    "a reencrypt replica": lambda says: copied(replica(), says, Transport.REENCRYPT),
    # It is one by naming an encryption.
    "a replica without transport": lambda says: copied(replica(), says) if says else None,
}
AS_IT_IS: dict[str, Build] = {
    "a snapshot": lambda says: None if says else copied(snapshot(), says),
    "a block replica": lambda says: copied(replica(), says, Transport.BLOCK),
    "a file replica": lambda says: copied(replica(), says, Transport.FILE),
    "a replica without transport": lambda says: None if says else copied(replica(), says),
    "a shared volume": lambda says: copied(volume("copy"), says, is_shared=True),
}
# Row by row as in the contract; its source encrypted, its source not encrypted.
TABLE = {
    "its source's cipher": {"rewritten": ("clone", "encrypt"), "as it is": ("clone", "conflict")},
    "another cipher": {"rewritten": ("reencrypt", "encrypt"), "as it is": ("conflict", "conflict")},
    "nothing": {"rewritten": ("clone", "encrypt"), "as it is": ("clone", "none")},
    "null": {"rewritten": ("policy-denied", "none"), "as it is": ("conflict", "none")},
}


def cells() -> list[object]:
    """Each cell of the table, for each form of such a copy."""
    made: list[object] = []
    for (says, row), (column, forms) in product(
        TABLE.items(), (("rewritten", REWRITTEN), ("as it is", AS_IT_IS))
    ):
        for form, build in forms.items():
            event = build(SAYS[says])
            if event is None:
                continue
            for encryption, expected in zip((XTS, None), row[column], strict=True):
                state = "not encrypted" if encryption is None else "encrypted"
                name = f"{says}: {form}, {column}, of what is {state}"
                made.append(pytest.param(event, encryption, expected, id=name))
    return made


def shortly(decision: Decision) -> str:
    """What must be done: the data action, or how the source is joined, or why not."""
    match decision:
        case Create(data_action=action):
            return action.value
        case Join(disposition):
            return disposition.value
        case NoKey(data_action=DataAction.DECRYPT):
            return "decrypt"
        case NoKey():
            return "none"
        case Refuse(reason):
            return reason.value
        case Already() | Gone() | Late() | Bury() | Wait():
            raise AssertionError(decision)


def source_of(
    encryption: Encryption | None, project: str = "p1", state: KeyState = KeyState.ACTIVE
) -> Held:
    return held(SOURCE._replace(project=project), encryption=encryption, state=state)


@pytest.mark.parametrize(("event", "encryption", "expected"), cells())
def test_the_contracts_table(event: Event, encryption: Encryption | None, expected: str) -> None:
    source = source_of(encryption)
    decision = decide(event, None, source, JOINING)
    assert shortly(decision) == expected
    if isinstance(decision, Create):
        wanted = asks(XTS) if event.encryption is None else event.encryption
        assert asks(decision.encryption) == wanted
        reencrypts = decision.data_action is DataAction.REENCRYPT
        assert decision.reencrypt_from == ("key-source" if reencrypts else None)


@pytest.mark.parametrize("form", ["a volume", "a reencrypt replica"])
def test_a_decrypted_copy_is_one_where_the_policy_allows_it(form: str) -> None:
    event = built(REWRITTEN, form, UNENCRYPTED)
    decision = decide(event, None, source_of(XTS), DECRYPTING)
    assert decision == NoKey("guard:not-encrypted", DataAction.DECRYPT, "key-source")
    # Its source's bytes are no decrypted copy, whatever is allowed.
    shared = built(AS_IT_IS, "a shared volume", UNENCRYPTED)
    assert shortly(decide(shared, None, source_of(XTS), DECRYPTING)) == "conflict"


def test_a_rule_that_says_none_makes_a_decrypted_copy_only_where_that_is_allowed() -> None:
    rules = '[[rule]]\nname = "bare"\nevent = "volume-created"\nthen = "none"\n'
    event = copied(volume("copy"), None)
    assert shortly(decide(event, None, source_of(XTS), policy_of(rules))) == "policy-denied"
    allowing = policy_of('decrypted_copies = "allow"\n' + rules)
    decision = decide(event, None, source_of(XTS), allowing)
    assert decision == NoKey("bare", DataAction.DECRYPT, "key-source")


@pytest.mark.parametrize("form", ["a volume", "a reencrypt replica"])
@pytest.mark.parametrize(
    ("defaults", "expected"), [(PLAIN_BY_DEFAULT, "none"), (REFUSING, "policy-denied")]
)
def test_the_default_decides_a_rewritten_copy_of_what_is_not_encrypted(
    form: str, defaults: str, expected: str
) -> None:
    event = built(REWRITTEN, form, None)
    policy = policy_of(RULES, defaults=defaults)
    assert shortly(decide(event, None, source_of(None), policy)) == expected
    # What is encrypted, or says so itself, needs no default.
    assert shortly(decide(event, None, source_of(XTS), policy)) == "clone"
    own = built(REWRITTEN, form, asks(XTS))
    assert shortly(decide(own, None, source_of(None), policy)) == "encrypt"


@pytest.mark.parametrize("form", AS_IT_IS)
def test_no_default_decides_a_copy_as_it_is(form: str) -> None:
    event = built(AS_IT_IS, form, None)
    policy = policy_of(RULES, defaults=REFUSING)
    assert decide(event, None, source_of(None), policy) == NoKey("guard:source-unencrypted")


def test_a_blank_volume_of_a_type_that_the_policy_refuses_is_denied_in_words() -> None:
    policy = policy_of('[[rule]]\nname = "all"\nthen = "create"\n', defaults=REFUSING)
    refusal = decide(event_of(volume(), volume_type="LUKS"), None, None, policy)
    assert refusal == Refuse(
        Reason.POLICY_DENIED,
        "the policy refuses to choose an encryption for a volume of type LUKS:"
        " name it in the event, or add a default_encryption",
    )
    own = decide(event_of(volume(), volume_type="LUKS", encryption=asks(XTS)), None, None, policy)
    assert shortly(own) == "none"
    assert isinstance(own, Create)


# --- copies as they are ---------------------------------------------------------------

DOUBTS = {
    "iv-repeats": source_of(CTR),
    "unknown-cipher": source_of(UNLISTED),
    "source-not-active": source_of(XTS, state=KeyState.SUSPENDED),
}


@pytest.mark.parametrize("form", AS_IT_IS)
@pytest.mark.parametrize("guard", DOUBTS)
def test_a_copy_as_it_is_joins_whatever_stands_against_it_and_the_guard_is_named(
    guard: str, form: str
) -> None:
    event = built(AS_IT_IS, form, None)
    decision = decide(event, None, DOUBTS[guard], JOINING)
    assert decision == Join(Disposition.CLONE, DOUBTS[guard], f"guard:{guard}")


@pytest.mark.parametrize("form", AS_IT_IS)
@pytest.mark.parametrize(
    "policy", [JOINING, DECRYPTING, SHIPPED], ids=["join", "decrypt", "shipped"]
)
def test_a_copy_as_it_is_is_never_given_a_key_of_its_own(form: str, policy: Policy) -> None:
    for says, encryption, state, project, requested in product(
        (*SAYS.values(), asks(CBC)), (XTS, CTR, UNLISTED, None), KeyState, ("p1", "p2"), Disposition
    ):
        event = AS_IT_IS[form](says)
        if event is None:
            continue
        source = source_of(encryption, project, state=state)
        event = replace(event, derived_from=source.assignment.item, requested=requested)
        assert not isinstance(decide(event, None, source, policy), Create)


@pytest.mark.parametrize("form", AS_IT_IS)
def test_a_copy_as_it_is_from_another_project_is_denied(form: str) -> None:
    source = source_of(XTS, "p2")
    event = replace(built(AS_IT_IS, form, None), derived_from=source.assignment.item)
    refusal = decide(event, None, source, JOINING)
    assert isinstance(refusal, Refuse)
    assert refusal.reason is Reason.POLICY_DENIED
    assert refusal.detail == (
        f"{event.item.ref} would be under the key of another project's volume:source:"
        " have it re-encrypted on its way"
    )
    bare = source_of(None, "p2")
    assert shortly(decide(event, None, bare, JOINING)) == "none"


def test_a_request_for_a_key_of_its_own_is_not_heard_for_a_copy_as_it_is() -> None:
    for requested, expected in (
        (Disposition.CREATE, Disposition.REUSE),
        (Disposition.CLONE, Disposition.CLONE),
    ):
        event = event_of(snapshot(), SOURCE, requested=requested)
        decision = decide(event, None, source_of(XTS), SHIPPED)
        assert decision == Join(expected, source_of(XTS), "snapshots-share-the-key-id")


@pytest.mark.parametrize("then", ["create", "none"])
def test_a_rule_that_cannot_be_carried_out_for_a_copy_as_it_is_denies_it_in_words(
    then: str,
) -> None:
    policy = policy_of(f'[[rule]]\nname = "all"\nthen = "{then}"\n')
    refusal = decide(event_of(snapshot(), SOURCE), None, source_of(XTS), policy)
    assert refusal == Refuse(
        Reason.POLICY_DENIED,
        f"rule all says {then}, but snapshot:s1 is under its source's key as it is:"
        " only clone or reuse can be",
    )


def test_a_shared_volume_of_an_image_is_as_the_image_is() -> None:
    event = replace(event_of(volume(), image()), is_shared=True)
    assert decide(event, None, None, SHIPPED) == NoKey("guard:source-unencrypted")
    own = replace(event, encryption=asks(XTS))
    assert shortly(decide(own, None, None, SHIPPED)) == "conflict"


@pytest.mark.parametrize("transport", [None, Transport.BLOCK, Transport.FILE])
def test_a_partitions_replica_is_what_the_partition_is(transport: Transport | None) -> None:
    event = event_of(replica(), partition(), transport=transport)
    keyed, bare = held(partition()), held(partition(), encryption=None)
    assert shortly(decide(event, None, keyed, SHIPPED)) == "reuse"
    assert shortly(decide(event, None, bare, SHIPPED)) == "none"
    if transport is not None:
        other = replace(event, encryption=asks(CBC))
        assert shortly(decide(other, None, keyed, SHIPPED)) == "conflict"
        assert shortly(decide(other, None, bare, SHIPPED)) == "conflict"


# --- what refusals say ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "encryption", "has", "says"),
    [
        (
            built(AS_IT_IS, "a block replica", UNENCRYPTED), XTS,
            "aes-xts-plain64 of 512 bits", "no encryption",
        ),
        (
            built(AS_IT_IS, "a shared volume", asks(XTS_256)), XTS,
            "aes-xts-plain64 of 512 bits", "aes-xts-plain64 of 256 bits",
        ),
        (
            built(AS_IT_IS, "a file replica", asks(XTS)), None,
            "no encryption", "aes-xts-plain64 of 512 bits",
        ),
    ],
    ids=["null", "another", "not encrypted"],
)  # fmt: skip
def test_a_contradiction_names_both_values(
    event: Event, encryption: Encryption | None, has: str, says: str
) -> None:
    refusal = decide(event, None, source_of(encryption), JOINING)
    copy = f"{event.item.ref} is a copy of volume:source as it is"
    assert refusal == Refuse(Reason.CONFLICT, f"{copy}, with {has}; this event says: with {says}")


def test_an_unencrypted_copy_is_denied_with_what_to_do() -> None:
    event = copied(volume("copy"), UNENCRYPTED)
    refusal = decide(event, None, source_of(XTS), JOINING)
    assert refusal == Refuse(
        Reason.POLICY_DENIED,
        "volume:copy would be an unencrypted copy of volume:source, which is encrypted:"
        ' leave encryption out, or set decrypted_copies = "allow" in the policy',
    )


def test_no_refusal_is_longer_than_a_dead_letters_header() -> None:
    long = Item("p1", replica().kind, "r" * 255)
    far = SOURCE._replace(id="s" * 255, project="p2")
    cipher = Encryption("c" * 128, 4096)
    event = replace(event_of(long, far, encryption=UNENCRYPTED), transport=Transport.BLOCK)
    other = RequestedEncryption(XTS.cipher, 512)
    for says, encryption in ((UNENCRYPTED, cipher), (other, cipher), (None, cipher)):
        asking = replace(event, encryption=says)
        refusal = decide(asking, None, held(far, encryption=encryption), JOINING)
        assert isinstance(refusal, Refuse)
        assert len(refusal.detail.encode()) <= 255


# --- a rule that denies ---------------------------------------------------------------

DENYING = policy_with_cbc(
    'decrypted_copies = "allow"\n[[rule]]\nname = "frozen"\nproject = "p1"\nthen = "deny"\n'
)
EVASIONS = {
    "blank": (event_of(volume("v2")), None),
    "from an image": (event_of(volume("v2"), image()), None),
    "nothing": (event_of(volume("v2"), SOURCE), source_of(XTS)),
    "null": (event_of(volume("v2"), SOURCE, encryption=UNENCRYPTED), source_of(XTS)),
    "null, blank": (event_of(volume("v2"), encryption=UNENCRYPTED), None),
    "null, from an image": (event_of(volume("v2"), image(), encryption=UNENCRYPTED), None),
    "null, of what is not encrypted": (
        event_of(volume("v2"), SOURCE, encryption=UNENCRYPTED), source_of(None),
    ),
    "another cipher": (event_of(volume("v2"), SOURCE, encryption=asks(CBC)), source_of(XTS)),
    "a foreign source": (
        event_of(volume("v2"), SOURCE._replace(project="p2")), source_of(XTS, "p2"),
    ),
    "a foreign source that is not encrypted": (
        event_of(volume("v2"), SOURCE._replace(project="p2")), source_of(None, "p2"),
    ),
    "a source under a stream cipher": (event_of(volume("v2"), SOURCE), source_of(CTR)),
    "a source under an unlisted cipher": (event_of(volume("v2"), SOURCE), source_of(UNLISTED)),
    "a suspended source": (
        event_of(volume("v2"), SOURCE), source_of(XTS, state=KeyState.SUSPENDED),
    ),
    "a source that is not encrypted": (event_of(volume("v2"), SOURCE), source_of(None)),
    "a snapshot": (event_of(snapshot(), SOURCE), source_of(XTS)),
    "a snapshot of what is not encrypted": (event_of(snapshot(), SOURCE), source_of(None)),
    "a request": (event_of(volume("v2"), SOURCE, requested=Disposition.REUSE), source_of(XTS)),
}  # fmt: skip


@pytest.mark.parametrize(("event", "source"), EVASIONS.values(), ids=EVASIONS)
def test_nothing_gets_around_a_rule_that_denies(event: Event, source: Held | None) -> None:
    refusal = decide(event, None, source, DENYING)
    assert refusal == Refuse(Reason.POLICY_DENIED, "rule frozen denies it")


def test_a_later_rule_that_denies_does_not_stand_above_an_earlier_one() -> None:
    policy = policy_of(RULES + '[[rule]]\nname = "rest"\nthen = "deny"\n')
    event = event_of(volume("v2"), SOURCE)
    assert shortly(decide(event, None, source_of(XTS), policy)) == "clone"
    foreign = event_of(volume("v2"), SOURCE._replace(project="p2"))
    assert shortly(decide(foreign, None, source_of(XTS, "p2"), policy)) == "reencrypt"


@pytest.mark.parametrize(
    ("event", "source", "cipher"),
    [
        (event_of(volume("v2"), SOURCE, encryption=asks(CBC)), source_of(XTS), CBC.cipher),
        (event_of(volume("v2"), SOURCE), source_of(CTR), CTR.cipher),
        (event_of(volume("v2"), SOURCE), source_of(None), XTS.cipher),
        (event_of(volume("v2")), None, XTS.cipher),
        (event_of(volume("v2"), image()), None, XTS.cipher),
        (event_of(volume("v2"), SOURCE, encryption=UNENCRYPTED), source_of(XTS), "none"),
        (event_of(snapshot(), SOURCE), source_of(None), "none"),
    ],
    ids=["its own", "its source's", "the default", "blank", "image", "null", "as it is"],
)
def test_the_cipher_that_rules_see_is_the_one_that_the_item_would_have(
    event: Event, source: Held | None, cipher: str
) -> None:
    rules = f'[[rule]]\nname = "seen"\ncipher = "{cipher}"\nthen = "deny"\n'
    refusal = decide(event, None, source, policy_with_cbc(rules))
    assert refusal == Refuse(Reason.POLICY_DENIED, "rule seen denies it")
    other = f'[[rule]]\nname = "seen"\ncipher = "{cipher}?*"\nthen = "deny"\n'
    assert decide(event, None, source, policy_with_cbc(other)) != refusal
