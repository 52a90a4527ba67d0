"""What becomes of an item whose source is known: one table, and a function for each cell.

`TABLE` is the contract's table ("What must be done with the data"), row by row and column by
column, and a first column for items that are no copies. Everything here is pure.

A copy *as it is* is under its source's key, whatever anybody decides; so for such a copy
there is no `create`, and a guard is named but cannot stand in the way.
"""

from typing import Final

from kmworker.domain.answers import Create, Decision, Join, NoKey, Refuse
from kmworker.domain.ciphers import completed, is_allowed, wrong_size
from kmworker.domain.contradiction import encryption_shown, shown
from kmworker.domain.event import UNENCRYPTED, Event
from kmworker.domain.guards import doubt, guard_of_rewritten, is_foreign
from kmworker.domain.model import DataAction, Disposition, Encryption, Held, Kind, Transport
from kmworker.domain.policy import (
    ABSENT,
    Action,
    Permission,
    Policy,
    Refused,
    Rule,
    action_of,
    circumstances_of,
)
from kmworker.domain.values import value
from kmworker.errors import Reason

__all__ = ["by_table", "is_as_it_is"]

# The table's rows: what the event says of the item's encryption.
A_CIPHER, NOTHING, NULL = range(3)
# Its columns: where the item's data comes from, and whether that is encrypted.
BLANK, REWRITTEN, REWRITTEN_PLAIN, AS_IT_IS, AS_IT_IS_PLAIN = range(5)

# By themselves: to look a member up in its enumeration takes as long as to decide by it.
CREATE, CLONE, REUSE = Action.CREATE, Action.CLONE, Action.REUSE
UNKEYED, DENIED = Action.NONE, Action.DENY
SNAPSHOT, VOLUME, REENCRYPTED = Kind.SNAPSHOT, Kind.VOLUME, Transport.REENCRYPT


@value
class _Case:
    """All that a cell decides by."""

    event: Event
    source: Held | None
    """None for a blank item, and for one from an image."""
    encryption: Encryption | None
    """What the item would be encrypted with; None: it would not be."""
    rule: Rule | None
    """The first that matches; it does not deny."""
    policy: Policy


def by_table(event: Event, source: Held | None, policy: Policy) -> Decision:
    """Decide by what the event says and by how the item's data comes to be.

    Args:
        event: of an item that is not assigned yet; what it asks for is listed.
        source: what it is made from; None for a blank item, and for one from an image.
        policy: the operator's rules.
    """
    says = _says(event)
    copy = _copy(event, source)
    encryption = _encryption(event, source, copy, policy)
    if isinstance(encryption, Refused):
        return _no_default(event)
    cipher = ABSENT if encryption is None else encryption.cipher
    rule = policy.first_match(circumstances_of(event, cipher))
    # Above the guards: else null, another cipher or a foreign source would get around it.
    if rule is not None and rule.then is DENIED:
        return Refuse(Reason.POLICY_DENIED, f"rule {rule.name} denies it")
    return TABLE[says][copy](_Case(event, source, encryption, rule, policy))


def _says(event: Event) -> int:
    if event.encryption is None:
        return NOTHING
    return NULL if event.encryption is UNENCRYPTED else A_CIPHER


def _copy(event: Event, source: Held | None) -> int:
    if event.derived_from is None:
        return BLANK
    # An image is data from outside: not encrypted, as far as is known here.
    is_plain = source is None or source.key is None or source.scope is None
    if is_as_it_is(event):
        return AS_IT_IS_PLAIN if is_plain else AS_IT_IS
    return REWRITTEN_PLAIN if is_plain else REWRITTEN


def is_as_it_is(event: Event) -> bool:
    """Return whether the item is its source's very bytes, whatever anybody decides."""
    kind = event.item.kind
    if kind is SNAPSHOT:
        return True
    if kind is VOLUME:
        return event.is_shared
    if event.transport is None:
        return event.encryption is None
    return event.transport is not REENCRYPTED


def _encryption(
    event: Event, source: Held | None, copy: int, policy: Policy
) -> Encryption | Refused | None:
    """Return what the item would have: its own request, else its source's, else the default."""
    requested = event.encryption
    if requested is UNENCRYPTED:
        return None
    if requested is not None:
        return completed(requested, source, policy)
    if source is not None and source.scope is not None:
        return source.scope.encryption
    # The bytes are there, and they are not encrypted.
    if copy is AS_IT_IS_PLAIN:
        return None
    return policy.default_for(event.item.kind, event.volume_type)


# --- its cells ----------------------------------------------------------------------


def _by_rule(case: _Case) -> Decision:
    """Decide what has no source, or one from outside; guards and requests have no object."""
    if case.encryption is None:
        return NoKey("guard:not-encrypted")
    if case.rule is None:
        return _no_rule()
    if case.rule.then is UNKEYED:
        return NoKey(case.rule.name)
    is_blank = case.event.derived_from is None
    return _create(case, case.rule.name, DataAction.NONE if is_blank else DataAction.ENCRYPT)


def _by_guards_and_rule(case: _Case) -> Decision:
    """Decide a copy that is written anew, and may yet share its source's ciphertext."""
    source = _source(case)
    guard = guard_of_rewritten(case.event, source, case.encryption, case.policy)
    if guard is not None:
        return _reencrypted(case, guard)
    if case.rule is None:
        return _no_rule()
    action = _action(case.rule, case.event.requested)
    if action is CREATE:
        return _reencrypted(case, case.rule.name)
    if action is UNKEYED:
        return _decrypted(case, case.rule.name)
    return Join(_joined(action), source, case.rule.name)


def _encrypted_anew(case: _Case) -> Decision:
    """Decide a copy that is written anew from data that is not encrypted."""
    if case.source is None:
        return _by_rule(case)
    is_abroad = is_foreign(case.event, case.source)
    guard = "guard:cross-project" if is_abroad else "guard:source-unencrypted"
    return NoKey(guard) if case.encryption is None else _create(case, guard, DataAction.ENCRYPT)


def _decrypt(case: _Case) -> Decision:
    return _decrypted(case, "guard:not-encrypted")


def _decrypted(case: _Case, rule: str) -> Decision:
    """Decide a copy that would lie there unencrypted, while its source does not."""
    key = _source(case).key
    if case.policy.decrypted_copies is Permission.ALLOW and key is not None:
        return NoKey(rule, DataAction.DECRYPT, key.key_id)
    copy, source = shown(case.event.item.ref), shown(_source(case).assignment.item.ref)
    return Refuse(
        Reason.POLICY_DENIED,
        f"{copy} would be an unencrypted copy of {source}, which is encrypted:"
        ' leave encryption out, or set decrypted_copies = "allow" in the policy',
    )


def _shared(case: _Case) -> Decision:
    """Decide a copy that is under its source's key already: by which name, and no more."""
    source, copy = _source(case), shown(case.event.item.ref)
    if is_foreign(case.event, source):
        return Refuse(
            Reason.POLICY_DENIED,
            f"{copy} would be under the key of another project's"
            f" {shown(source.assignment.item.ref)}: have it re-encrypted on its way",
        )
    if case.rule is None:
        return _no_rule()
    rule, requested = case.rule, case.event.requested
    # Nobody's request makes its bytes others than they are.
    action = rule.then if requested is Disposition.CREATE else _action(rule, requested)
    if action is not CLONE and action is not REUSE:
        return Refuse(
            Reason.POLICY_DENIED,
            f"rule {rule.name} says {action}, but {copy} is under its source's key as it is:"
            " only clone or reuse can be",
        )
    return Join(_joined(action), source, doubt(source, case.policy) or rule.name)


def _shared_if_same(case: _Case) -> Decision:
    scope = _source(case).scope
    if scope is None or case.encryption != scope.encryption:
        return _contradicts(case)
    return _shared(case)


def _contradicts(case: _Case) -> Decision:
    """Refuse an event that says of a copy as it is what its source is not."""
    event, scope = case.event, None if case.source is None else case.source.scope
    source = "" if event.derived_from is None else shown(event.derived_from.ref)
    theirs = encryption_shown(None if scope is None else scope.encryption)
    says = encryption_shown(event.encryption)
    return Refuse(
        Reason.CONFLICT,
        f"{shown(event.item.ref)} is a copy of {source} as it is, with {theirs};"
        f" this event says: with {says}",
    )


def _unencrypted(_case: _Case) -> Decision:
    return NoKey("guard:source-unencrypted")


def _not_encrypted(_case: _Case) -> Decision:
    return NoKey("guard:not-encrypted")


#            blank            rewritten, its source          as it is, its source
#                             encrypted            not       encrypted         not
TABLE: Final = (
    # a cipher
    (_by_rule, _by_guards_and_rule, _encrypted_anew, _shared_if_same, _contradicts),
    # nothing
    (_by_rule, _by_guards_and_rule, _encrypted_anew, _shared, _unencrypted),
    # null
    (_not_encrypted, _decrypt, _not_encrypted, _contradicts, _not_encrypted),
)


def _source(case: _Case) -> Held:
    assert case.source is not None  # noqa: S101  # its column says so
    return case.source


def _action(rule: Rule, requested: Disposition | None) -> Action:
    return action_of(requested) if rule.allow_requested and requested else rule.then


def _joined(action: Action) -> Disposition:
    return Disposition.CLONE if action is CLONE else Disposition.REUSE


def _reencrypted(case: _Case, rule: str) -> Decision:
    key = _source(case).key
    return _create(case, rule, DataAction.REENCRYPT, None if key is None else key.key_id)


def _create(
    case: _Case, rule: str, data_action: DataAction, reencrypt_from: str | None = None
) -> Decision:
    encryption = case.encryption
    assert encryption is not None  # noqa: S101  # the callers have looked
    if not is_allowed(encryption, case.policy):
        return Refuse(Reason.POLICY_DENIED, wrong_size(encryption.key_bits))
    return Create(encryption, rule, data_action, reencrypt_from)


def _no_rule() -> Refuse:
    return Refuse(Reason.POLICY_DENIED, "no rule of the policy matches")


def _no_default(event: Event) -> Refuse:
    what = "without a type" if event.volume_type is None else f"of type {shown(event.volume_type)}"
    return Refuse(
        Reason.POLICY_DENIED,
        f"the policy refuses to choose an encryption for a {event.item.kind} {what}:"
        " name it in the event, or add a default_encryption",
    )
