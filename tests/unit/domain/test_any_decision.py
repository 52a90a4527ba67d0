"""Whatever event, record and policy come: every event is decided, and soundly."""

from dataclasses import replace
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from kmworker.domain.decision import (
    Already,
    Bury,
    Create,
    Gone,
    Join,
    Late,
    NoKey,
    Refuse,
    Wait,
    decide,
)
from kmworker.domain.event import UNENCRYPTED, Event, RequestedEncryption
from kmworker.domain.model import (
    Broken,
    DataAction,
    Disposition,
    Held,
    Item,
    KeyState,
    Kind,
    State,
    Transport,
)
from kmworker.domain.policy import IvUse, Policy
from tests.kit.builders import (
    CTR,
    EVENT_TYPE,
    SHIPPED,
    UNLISTED,
    XTS,
    XTS_128,
    XTS_256,
    event_of,
    held,
    policy_of,
    volume,
)

CREATE, CLONE, REUSE = Disposition.CREATE, Disposition.CLONE, Disposition.REUSE

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


@settings(max_examples=2 * settings().max_examples)
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
        case Gone() | Late() | Bury():
            raise AssertionError("all are first lives, and nothing is gone")


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
        source.key_state not in {KeyState.ACTIVE, KeyState.DEACTIVATED}
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
    if create.data_action is DataAction.REENCRYPT:
        assert isinstance(source, Held)
        assert source.key is not None
        assert source.key.state is not KeyState.DESTROYED
        assert create.reencrypt_from == source.key.key_id
    else:
        assert create.reencrypt_from is None
        assert not isinstance(source, Held) or source.key is None
