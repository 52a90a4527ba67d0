"""Which key-id an item gets: one pure, total function.

Guards stand above rules and rules above wishes. The order of the early returns *is*
that precedence, and each says why it stands where it does.
"""

from kmworker.errors import Reason
from kmworker.events import UNENCRYPTED, Event, RequestedEncryption
from kmworker.model import (
    Broken,
    DataAction,
    Disposition,
    Encryption,
    Held,
    KeyState,
    Kind,
    State,
)
from kmworker.policy import (
    BITS_PER_BYTE,
    MAX_DEK_BITS,
    Action,
    IvUse,
    Policy,
    Rule,
    action_of,
    circumstances_of,
)
from kmworker.values import value

__all__ = ["Already", "Create", "Decision", "Join", "NoKey", "Refuse", "Wait", "decide"]


@value
class Already:
    """The item is assigned from this very source: announce that again."""

    held: Held


@value
class Create:
    """A new scope: new DEK, new key-id."""

    encryption: Encryption
    rule: str
    data_action: DataAction
    reencrypt_from: str | None = None


@value
class Join:
    """Join the source's scope, by `CLONE` or `REUSE`."""

    disposition: Disposition
    source: Held
    rule: str


@value
class NoKey:
    """The item is not encrypted."""

    rule: str


@value
class Wait:
    """The source is not there yet."""


@value
class Refuse:
    """A dead letter."""

    reason: Reason
    detail: str


Decision = Already | Create | Join | NoKey | Wait | Refuse


def decide(event: Event, own: State, source: State, policy: Policy) -> Decision:  # noqa: PLR0911
    """Choose how the event's item gets its key-id.

    Args:
        event: what happened.
        own: what is known of the item itself.
        source: what is known of ``event.derived_from``; None also for images.
        policy: the operator's rules.
    """
    if isinstance(own, Broken):
        return Refuse(Reason.INTEGRITY, own.detail)
    # A redelivered event repeats its first answer, whatever the policy says today.
    if own is not None:
        return _again(event, own)
    # What the event asks for can be judged without its source, so it never waits in vain.
    objection = _objection(event.encryption, policy)
    if objection is not None:
        return objection
    if event.derived_from is None or event.derived_from.kind is Kind.IMAGE:
        return _underived(event, policy)
    if isinstance(source, Broken):
        return Refuse(Reason.INTEGRITY, source.detail)
    if source is None:
        return Wait()
    # Nothing can be read from this source any more, by whatever key.
    if source.key is not None and source.key.state is KeyState.DESTROYED:
        return Refuse(
            Reason.SOURCE_UNUSABLE, f"the key of {source.assignment.item.ref} is destroyed"
        )
    if event.encryption is UNENCRYPTED:
        return NoKey("guard:not-encrypted")
    return _guarded(event, source, policy) or _derived(event, source, policy)


def _again(event: Event, own: Held) -> Decision:
    if own.assignment.source == event.derived_from:
        return Already(own)
    first = own.assignment.source
    return Refuse(
        Reason.CONFLICT,
        f"{event.item.ref} is already assigned from {'no source' if first is None else first.ref}",
    )


def _guarded(event: Event, source: Held, policy: Policy) -> Decision | None:
    """Apply the guards, in the order of the design's table."""
    own_encryption = _completed(event.encryption, source, policy)
    guard = _guard(event, source, own_encryption, policy)
    if guard is None:
        return None
    if guard == "source-unencrypted" and own_encryption is None:
        return NoKey(f"guard:{guard}")
    return _create(event, source, f"guard:{guard}", policy)


def _guard(  # noqa: PLR0911
    event: Event, source: Held, own_encryption: Encryption | None, policy: Policy
) -> str | None:
    # A clone would share one DEK across tenants.
    if source.assignment.item.project != event.item.project:
        return "cross-project"
    if source.scope is None or source.key is None:
        return "source-unencrypted"
    theirs = source.scope.encryption
    # The DEK would not fit.
    if own_encryption is not None and own_encryption != theirs:
        return "encryption-differs"
    listed = policy.listed(theirs.cipher)
    # The source goes on being written; two versions under one IV give their XOR away.
    if listed is not None and listed.iv is IvUse.POSITIONAL_STREAM:
        return "iv-repeats"
    # Assume the worst of what nobody has described.
    if listed is None:
        return "unknown-cipher"
    # Do not spread a key that someone has doubts about.
    if source.key.state is not KeyState.ACTIVE:
        return "source-not-active"
    return None


def _derived(event: Event, source: Held, policy: Policy) -> Decision:
    """Apply the rules to an item whose source has a key that may be shared."""
    assert source.scope is not None  # noqa: S101  # the guard source-unencrypted saw to it
    rule = policy.first_match(circumstances_of(event, source.scope.encryption.cipher))
    if rule is None:
        return _no_rule()
    action = action_of(event.wish) if rule.honour_wish and event.wish else rule.then
    if action is Action.CREATE:
        return _create(event, source, rule.name, policy)
    if action is Action.CLONE:
        return Join(Disposition.CLONE, source, rule.name)
    if action is Action.REUSE:
        return Join(Disposition.REUSE, source, rule.name)
    return _keyless(rule)


def _underived(event: Event, policy: Policy) -> Decision:
    """Apply the rules to an item without a source, or from outside; wishes have no object."""
    if event.encryption is UNENCRYPTED or (
        event.encryption is None and _default(event, policy) is None
    ):
        return NoKey("guard:not-encrypted")
    encryption = _completed(event.encryption, None, policy) or _default(event, policy)
    assert encryption is not None  # noqa: S101  # one of the two, by the lines above
    rule = policy.first_match(circumstances_of(event, encryption.cipher))
    if rule is None:
        return _no_rule()
    if rule.then in {Action.DENY, Action.NONE}:
        return _keyless(rule)
    return _create(event, None, rule.name, policy)


def _keyless(rule: Rule) -> Decision:
    if rule.then is Action.DENY:
        return Refuse(Reason.POLICY_DENIED, f"rule {rule.name} denies it")
    return NoKey(rule.name)


def _no_rule() -> Refuse:
    return Refuse(Reason.POLICY_DENIED, "no rule of the policy matches")


def _create(event: Event, source: Held | None, rule: str, policy: Policy) -> Decision:
    encryption = _completed(event.encryption, source, policy)
    if encryption is None and source is not None and source.scope is not None:
        encryption = source.scope.encryption
    if encryption is None:
        encryption = _default(event, policy)
    if encryption is None:
        return NoKey(rule)
    if not _allowed(encryption, policy):
        return _wrong_size(encryption)
    return Create(encryption, rule, *_copying(event, source))


def _copying(event: Event, source: Held | None) -> tuple[DataAction, str | None]:
    """Say what must happen to the data that the item is made from."""
    if event.derived_from is None:
        return DataAction.NONE, None
    if source is None or source.key is None:
        return DataAction.ENCRYPT, None
    return DataAction.REENCRYPT, source.key.key_id


def _default(event: Event, policy: Policy) -> Encryption | None:
    return policy.default_for(event.item.kind, event.volume_type)


def _completed(requested: object, source: Held | None, policy: Policy) -> Encryption | None:
    """Fill in the key size: the source's if the cipher is the same, else the default."""
    if not isinstance(requested, RequestedEncryption):
        return None
    if requested.key_bits is not None:
        return Encryption(requested.cipher, requested.key_bits)
    theirs = None if source is None or source.scope is None else source.scope.encryption
    if theirs is not None and theirs.cipher == requested.cipher:
        return theirs
    listed = policy.listed(requested.cipher)
    return None if listed is None else Encryption(listed.name, listed.key_bits[0])


def _objection(requested: object, policy: Policy) -> Refuse | None:
    if not isinstance(requested, RequestedEncryption):
        return None
    if requested.key_bits is None:
        if policy.listed(requested.cipher) is None:
            return Refuse(Reason.MALFORMED, "data.encryption: an unlisted cipher needs key_bits")
        return None
    encryption = Encryption(requested.cipher, requested.key_bits)
    return None if _allowed(encryption, policy) else _wrong_size(encryption)


def _allowed(encryption: Encryption, policy: Policy) -> bool:
    listed = policy.listed(encryption.cipher)
    if listed is not None:
        return encryption.key_bits in listed.key_bits
    return encryption.key_bits % BITS_PER_BYTE == 0 and encryption.key_bits <= MAX_DEK_BITS


def _wrong_size(encryption: Encryption) -> Refuse:
    return Refuse(
        Reason.POLICY_DENIED, f"a key of {encryption.key_bits} bits is not allowed for its cipher"
    )
