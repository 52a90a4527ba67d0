"""What one machine with one owner needs to delegate: made at first, renewed by itself.

Elsewhere the root key is kept offline, because key servers are exposed and clients are many. Here
it lies in the same folder as the keyring, for the same owner: whoever reads that folder has every
key anyway. It can be taken away, too: it is needed again when the list is over, or the key server's
identity is lost.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from kmworker.clock import rfc3339
from kmworker.crypto import Keyring, KeyringCustody
from kmworker.crypto.audit_key import AuditKey
from kmworker.delegation.encoded import as_text
from kmworker.delegation.identity import KEY_SERVER_FILE, Identity, key_id_of
from kmworker.delegation.root_key import RootKey
from kmworker.delegation.trust_list import HandedOut, TrustList, make_list
from kmworker.domain.audit import Actor, ActorKind
from kmworker.errors import SetupError, TransientError, Untrusted
from kmworker.settings import StoreSettings
from kmworker.settings.instance import ROOT_KEY, paths_in
from kmworker.store.admission import enter
from kmworker.store.client import connect_to
from kmworker.store.client_register import ClientRegister, record_of_list
from kmworker.store.inspection import Views
from kmworker.store.names import Names
from kmworker.store.records import RecordCodec

__all__ = ["OwnTrust", "hand_out_trust"]

HOLDS_DAYS: Final = 3650
"""Of a list. That it ends protects from whoever has stolen a key server's key and not the root's:
here, both are one theft."""
RENEW_DAYS: Final = 365
"""Before its end it is signed anew, at the next start."""
DAY_S: Final = 86_400
OURSELVES: Final = Actor(ActorKind.KEY_SERVER, "kmworker up")


class OwnTrust:
    """Sees that an instance can delegate, once it has something to delegate."""

    def __init__(self, folder: Path, url: str, keyring: Path, settings: StoreSettings) -> None:
        """Prepare.

        Args:
            folder: of the instance.
            url: of its server.
            keyring: its file.
            settings: of its store.
        """
        self._folder = folder
        self._keyring = keyring
        self._views = Views(connect_to(url, settings.timeout_s), Names(settings.prefix))
        self._is_trusted = False

    def is_ready(self) -> bool:
        """Return whether a key server may begin; make what it needs, as soon as that can be.

        Raises:
            SetupError: as `hand_out_trust` does.
        """
        try:
            if not self._is_trusted and self._views.keyring():
                self._is_trusted = self._hand_out_trust()
            return self._is_trusted and self._views.has_projects()
        except TransientError:
            # Whoever looks after the server says what it is.
            return False

    def _hand_out_trust(self) -> bool:
        custody = KeyringCustody(Keyring.load(self._keyring))
        installation = enter(custody, self._views).layout.installation
        register = ClientRegister(self._views, RecordCodec(custody))
        return hand_out_trust(self._folder, register, installation, self._views.clock_s())


def hand_out_trust(folder: Path, register: ClientRegister, installation: str, now_s: float) -> bool:
    """See that the folder has its keys, and that the store has a list of them that holds.

    Returns False where somebody else has handed out another list meanwhile.

    Args:
        folder: of the instance.
        register: of its store.
        installation: the store's.
        now_s: Unix seconds.

    Raises:
        SetupError: a file cannot be used, or the root key is needed and missing.
    """
    at, paths = rfc3339(now_s), paths_in(folder)
    audit_key = paths["audit", "key"]
    if not audit_key.exists():
        AuditKey.generate(audit_key)
    identity = _identity(paths["keyserver", "identity"], at)
    handed_out = register.trust()
    present = None if handed_out is None else _read(handed_out, installation)
    if present is not None and _serves(present, identity, now_s):
        return True
    root = _root(folder / ROOT_KEY, handed_out, at)
    number = max(int(now_s), 0 if present is None else present.number + 1)
    made = _signed(root, installation, number, identity, now_s)
    handed = HandedOut(as_text(root.public), made.text, made.signature)
    return register.hand_out(
        handed, made.number, record_of_list(made.number, made.not_after, OURSELVES, at)
    )


def _identity(path: Path, at: str) -> Identity:
    if not path.exists():
        Identity.generate(at).write(path)
    return Identity.load(path, KEY_SERVER_FILE)


def _root(path: Path, handed_out: HandedOut | None, at: str) -> RootKey:
    if handed_out is None and not path.exists():
        RootKey.generate(at).write(path)
    root = RootKey.load(path)
    if handed_out is not None and as_text(root.public) != handed_out.root:
        # No client would believe what it signs.
        raise SetupError(
            f"root key {path}: another one has signed the list that clients go by",
            "restore that one; or kmworker trust publish --new-root, and enroll all clients anew",
        )
    return root


def _read(handed_out: HandedOut, installation: str) -> TrustList:
    try:
        return handed_out.checked(installation)
    except Untrusted as wrong:
        raise SetupError(str(wrong), "kmworker trust publish") from None


def _serves(present: TrustList, identity: Identity, now_s: float) -> bool:
    is_listed = key_id_of(identity.public.sign) in present.sign
    return is_listed and not present.is_over(now_s + RENEW_DAYS * DAY_S)


def _signed(
    root: RootKey, installation: str, number: int, identity: Identity, now_s: float
) -> TrustList:
    now = datetime.fromtimestamp(now_s, UTC)
    return make_list(
        root,
        installation,
        number,
        [identity.public],
        not_before=rfc3339(now.timestamp()),
        not_after=rfc3339((now + timedelta(days=HOLDS_DAYS)).timestamp()),
    )
