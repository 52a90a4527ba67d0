"""What keeps a copy that is written anew from sharing its source's key.

Of two guards that apply, the upper one decides. A rule that denies stands above them all.
"""

from kmworker.domain.event import Event
from kmworker.domain.model import Encryption, Held, KeyState
from kmworker.domain.policy import IvUse, Policy

__all__ = ["doubt", "guard_of_rewritten", "is_foreign"]


def guard_of_rewritten(
    event: Event, source: Held, encryption: Encryption | None, policy: Policy
) -> str | None:
    """Return the guard that gives a copy a key of its own, if one does.

    Args:
        event: the copy's.
        source: what it is made from, which is encrypted.
        encryption: what the copy would be encrypted with.
        policy: it lists the ciphers.
    """
    # A clone would share one DEK across tenants.
    if is_foreign(event, source):
        return "guard:cross-project"
    # The DEK would not fit.
    if source.scope is not None and encryption != source.scope.encryption:
        return "guard:encryption-differs"
    return doubt(source, policy)


def doubt(source: Held, policy: Policy) -> str | None:
    """Return the guard against spreading this source's key, whoever asks for it."""
    if source.scope is None or source.key is None:
        return None
    listed = policy.listed(source.scope.encryption.cipher)
    # Assume the worst of what nobody has described.
    if listed is None:
        return "guard:unknown-cipher"
    # The source goes on being written; two versions under one IV give their XOR away.
    if listed.iv is IvUse.POSITIONAL_STREAM:
        return "guard:iv-repeats"
    # Do not spread a key that someone has doubts about. That nobody holds it is no such doubt.
    if source.key_state not in {KeyState.ACTIVE, KeyState.DEACTIVATED}:
        return "guard:source-not-active"
    return None


def is_foreign(event: Event, source: Held) -> bool:
    """Return whether the source is another tenant's."""
    return source.assignment.item.project != event.item.project
