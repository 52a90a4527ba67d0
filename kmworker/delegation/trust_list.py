"""The trust list: which keys of key servers hold, signed by the installation's offline root key.

Every answer carries one, so keys roll over without anybody touching a client. A client goes by the
list with the highest number that it has seen, not by whichever an answer carries: who has stolen a
key that a newer list has left out gains nothing by sending the older list with it. And a key server
that still carries the older one is believed as long as the newer has its key, too.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from pydantic import TypeAdapter

from kmworker.clock import unix_s
from kmworker.delegation.encoded import as_text, from_text
from kmworker.delegation.identity import PublicIdentity, key_id_of
from kmworker.delegation.root_key import RootKey
from kmworker.delegation.sealing import SEAL_PUBLIC_BYTES, is_seal_public
from kmworker.delegation.signing import PUBLIC_BYTES, digest_of, holds, public_in
from kmworker.domain.values import value
from kmworker.errors import Untrusted
from kmworker.wire.trust_documents import (
    MAX_LIST_BYTES,
    MAX_LISTED,
    TRUST_LIST,
    TrustListDocument,
    document_in,
)

__all__ = ["LEEWAY_S", "HandedOut", "TrustList", "check_list", "make_list", "newest"]

LEEWAY_S: Final = 300.0
"""How far a client's clock may be behind when a list begins. No list holds longer than it says."""
PUBLISH: Final = "kmworker trust publish, of what kmworker trust sign has printed"
AGAIN: Final = "have the list signed anew, and give it to the key servers"


@value
class TrustList:
    """A list whose signature holds."""

    installation: str
    number: int
    not_before: str
    not_after: str
    """Both RFC 3339, UTC."""
    sign: Mapping[str, bytes]
    """Ed25519 public keys of key servers, by id."""
    seal: Mapping[str, bytes]
    """X-Wing public keys of key servers, by id."""
    text: str
    """What was signed."""
    signature: str

    @property
    def document(self) -> dict[str, str]:
        """Return it as answers carry it, and as a client keeps the newest."""
        return {"text": self.text, "signature": self.signature}

    def has_begun(self, now_s: float) -> bool:
        """Return whether it holds already."""
        return now_s >= unix_s(self.not_before) - LEEWAY_S

    def is_over(self, now_s: float) -> bool:
        """Return whether it holds no more."""
        return now_s >= unix_s(self.not_after)


@value
class HandedOut:
    """The list that key servers hand out, with the root key that has signed it; nothing checked."""

    root: str
    """The public key, in base64."""
    text: str
    signature: str

    def root_key(self) -> bytes:
        """Return the public root key, which clients pin.

        Raises:
            Untrusted: it is none.
        """
        root = public_in(self.root)
        if root is None:
            raise Untrusted("trust list: its root key is none", PUBLISH)
        return root

    def checked(self, installation: str) -> TrustList:
        """Return what the list says; as `check_list`.

        Raises:
            Untrusted: as `check_list`, or its root key is none.
        """
        return check_list(self.text, self.signature, self.root_key(), installation)


def make_list(  # noqa: PLR0913  # what a list says
    root: RootKey,
    installation: str,
    number: int,
    servers: Sequence[PublicIdentity],
    *,
    not_before: str,
    not_after: str,
) -> TrustList:
    """Make and sign a list.

    Raises:
        Untrusted: it would be none that a client takes.
    """
    document = {
        "document": TRUST_LIST,
        "version": 1,
        "installation": installation,
        "number": number,
        "not_before": not_before,
        "not_after": not_after,
        "sign": [_listed(it.sign) for it in servers],
        "seal": [_listed(it.seal) for it in servers],
    }
    text = json.dumps(document, separators=(",", ":"))
    signature = root.sign(TRUST_LIST, installation, digest_of(text.encode()))
    return check_list(text, signature, root.public, installation)


def check_list(text: str, signature: str, root: bytes, installation: str) -> TrustList:
    """Return what a list says, once its signature holds; whether it holds now is another matter.

    Raises:
        Untrusted: another root signed it, it is another installation's, or it is no list.
    """
    try:
        content = text.encode()
    except UnicodeEncodeError:
        raise Untrusted("trust list: not UTF-8", AGAIN) from None
    # Before anything of it is read.
    if not holds(root, signature, TRUST_LIST, installation, digest_of(content)):
        raise Untrusted(
            "trust list: not signed by this installation's root key",
            "if the root key was replaced, enrol this client anew",
        )
    try:
        said = document_in(_lists(), content, MAX_LIST_BYTES)
        sign = _keys(said["sign"], PUBLIC_BYTES)
        seal = _keys(said["seal"], SEAL_PUBLIC_BYTES)
        _check_order(said["not_before"], said["not_after"])
    except ValueError as wrong:
        complaint = str(wrong)
    else:
        if said["installation"] != installation:
            raise Untrusted("trust list: of another installation", AGAIN)
        return TrustList(
            installation,
            said["number"],
            said["not_before"],
            said["not_after"],
            sign,
            seal,
            text,
            signature,
        )
    raise Untrusted(f"trust list: {complaint}", AGAIN)


def newest(seen: TrustList | None, carried: TrustList, now_s: float) -> TrustList:
    """Return the list to go by, and to keep.

    Args:
        seen: the one that the client goes by so far.
        carried: the one that an answer carries.
        now_s: by the client's own clock: what an answer says of time may not make a list last.

    Raises:
        Untrusted: there is none that holds now, or two have one number.
    """
    if seen is not None and seen.number == carried.number and seen.text != carried.text:
        raise Untrusted(
            f"trust list: there are two with the number {seen.number}",
            "ask who keeps the root key: somebody else may have it",
        )
    # One that begins later is known early, so that it may be handed out before it is needed. One
    # that has begun stands above those before it, even when it is over: nothing goes back.
    goes_by_carried = seen is None or (carried.number > seen.number and carried.has_begun(now_s))
    chosen = carried if goes_by_carried or seen is None else seen
    if not chosen.has_begun(now_s):
        raise Untrusted(
            f"trust list {chosen.number}: does not hold before {chosen.not_before}",
            "compare this machine's clock with that",
        )
    if chosen.is_over(now_s):
        raise Untrusted(f"trust list {chosen.number}: held until {chosen.not_after}", AGAIN)
    return chosen


def _listed(public: bytes) -> dict[str, str]:
    return {"id": key_id_of(public), "public": as_text(public)}


def _check_order(not_before: str, not_after: str) -> None:
    if unix_s(not_before) >= unix_s(not_after):
        raise ValueError("not_after: not after not_before")


def _keys(listed: Sequence[Mapping[str, str]], size_bytes: int) -> dict[str, bytes]:
    keys = {}
    for it in listed:
        public = from_text(it["public"], size_bytes)
        if public is None or key_id_of(public) != it["id"]:
            raise ValueError("a key in it is not the one that its id names")
        if size_bytes == SEAL_PUBLIC_BYTES and not is_seal_public(public):
            raise ValueError("a key in it is none that can be sealed to")
        keys[it["id"]] = public
    if len(keys) != len(listed):
        raise ValueError("a key is in it twice")
    if not 0 < len(keys) <= MAX_LISTED:
        raise ValueError(f"from 1 to {MAX_LISTED} keys of each kind belong into it")
    return keys


@cache
def _lists() -> TypeAdapter[Any]:
    return TypeAdapter(TrustListDocument)
