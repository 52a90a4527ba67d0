"""Which ciphers and key sizes a policy lets an item have, and what is said of others."""

from difflib import get_close_matches
from typing import Final

from kmworker.domain.contradiction import shown
from kmworker.domain.event import RequestedEncryption, Unencrypted
from kmworker.domain.model import Encryption, Held
from kmworker.domain.policy import BITS_PER_BYTE, MAX_DEK_BITS, Policy

__all__ = ["completed", "is_allowed", "objection", "wrong_size"]

# Longer names than any that is listed are like none of them, and comparing takes time.
MAX_COMPARED: Final = 64


def objection(requested: RequestedEncryption | Unencrypted | None, policy: Policy) -> str | None:
    """Return what the policy has against an event's own request, in words; None: nothing."""
    if not isinstance(requested, RequestedEncryption):
        return None
    listed = policy.listed(requested.cipher)
    if listed is None:
        return _unlisted(requested.cipher, policy)
    if requested.key_bits is None or requested.key_bits in listed.key_bits:
        return None
    return wrong_size(requested.key_bits)


def completed(
    requested: RequestedEncryption, source: Held | None, policy: Policy
) -> Encryption | None:
    """Fill in the key size: the source's if the cipher is the same, else the default.

    None only for a cipher that the policy does not list.
    """
    if requested.key_bits is not None:
        return Encryption(requested.cipher, requested.key_bits)
    theirs = None if source is None or source.scope is None else source.scope.encryption
    if theirs is not None and theirs.cipher == requested.cipher:
        return theirs
    listed = policy.listed(requested.cipher)
    return None if listed is None else Encryption(listed.name, listed.key_bits[0])


def is_allowed(encryption: Encryption, policy: Policy) -> bool:
    """Return whether a new DEK may have this size.

    A source keeps a cipher that was listed once, so what is made from it has it, too.
    """
    listed = policy.listed(encryption.cipher)
    if listed is not None:
        return encryption.key_bits in listed.key_bits
    return encryption.key_bits % BITS_PER_BYTE == 0 and encryption.key_bits <= MAX_DEK_BITS


def wrong_size(key_bits: int) -> str:
    """Return what is said of a size that is not allowed."""
    return f"a key of {key_bits} bits is not allowed for its cipher"


def _unlisted(cipher: str, policy: Policy) -> str:
    near = _nearest(cipher[:MAX_COMPARED].casefold(), policy)
    hint = "kmworker explain shows those it lists" if near is None else f"did you mean {near}?"
    return f"the policy does not list the cipher {shown(cipher)}; {hint}"


def _nearest(cipher: str, policy: Policy) -> str | None:
    names = {entry.name.casefold(): entry.name for entry in policy.cipher}
    # The same words in another order (aes-gcm-256) are nearer than any other spelling.
    near = [name for name in names if _words(name) == _words(cipher)]
    near = near or get_close_matches(cipher, names, n=1)
    return names[near[0]] if near else None


def _words(cipher: str) -> list[str]:
    return sorted(cipher.replace("_", "-").split("-"))
