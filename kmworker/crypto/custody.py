"""The custody: the port's words over a keyring, for one installation.

What goes wrong has two names only. An unknown KEK says nothing about a record; every
other failure is one and the same error, so that someone who tries blobs or records on
us learns nothing from the answers.
"""

from collections.abc import Callable, Collection
from pathlib import Path

from kmworker.crypto.keyring import Keyring
from kmworker.crypto.keyring_file import KeyringFile
from kmworker.crypto.record_mac import Sealer
from kmworker.crypto.roots import Root
from kmworker.crypto.wrapping import Wrapper, no_unwrap, unknown_kek
from kmworker.domain.model import Place, ScopeRecord
from kmworker.errors import UnknownKek
from kmworker.secrecy import Secret

__all__ = ["KeyringCustody", "followed"]

CHECK_LABEL = "kmworker/check/v1"


class KeyringCustody(Secret):
    """`kmworker.ports.Custody` over a `Keyring`.

    Which installation it works for is known when its store has been looked at: before `enter`
    it wraps and seals nothing. Which of its KEKs may do what, the store says, too: before `use`
    the newest is the active one, and all of them open.

    Attributes:
        kek_id: the active KEK's fingerprint; the keyring may lack it, and then nothing is written.
        term: since which it is, as the store counts; 0 before `use`.
    """

    def __init__(
        self,
        keyring: Keyring,
        installation: str | None = None,
        changed: Callable[[], Keyring | None] = lambda: None,
    ) -> None:
        """Open a keyring.

        Args:
            keyring: as it is now.
            installation: to work for; None: it is entered later.
            changed: returns it anew if it has changed since it was asked the last time.
        """
        self.kek_id = keyring.newest
        self.term = 0
        self._keyring = keyring
        self._changed = changed
        self._opening = frozenset(keyring.keks)
        self._installation: str | None = None
        if installation is not None:
            self.enter(installation)

    @property
    def kek_ids(self) -> frozenset[str]:
        """Return the fingerprints of all KEKs in the keyring, whatever they may do."""
        return frozenset(self._keyring.keks)

    def enter(self, installation: str) -> None:
        """Wrap and seal for this installation from now on.

        Its id goes into every key that is derived, so that of two stores under one keyring
        neither takes the other's records for its own.
        """
        if installation == self._installation:
            return
        self._installation = installation
        self._open()

    def use(self, active: str, opening: Collection[str], term: int) -> None:
        """Write under this KEK, and open under these and no others, from now on.

        Args:
            active: the KEK that is written under.
            opening: those that are opened with.
            term: which of the store's active KEKs, one after the other, this is.

        Raises:
            UnknownKek: the keyring lacks the active one. It opens, and writes nothing.
        """
        if (active, frozenset(opening)) != (self.kek_id, self._opening):
            self.kek_id, self._opening = active, frozenset(opening)
            self._open()
        self.term = term
        if active not in self._keyring.keks:
            said = f"the active KEK {active} is not in the keyring file"
            raise UnknownKek(f"{said} (removed? kmworker keyring restore {active})", active)

    def take_up(self) -> bool:
        """Take the keyring anew if it has changed; return whether it has.

        Raises:
            RootAway, SetupError: it cannot be used as it is now, each time until it can; this goes
                on with what it was.
        """
        changed = self._changed()
        if changed is None:
            return False
        # What was there opens what it has opened: until the store says otherwise, or a restart.
        self._keyring = Keyring(changed.newest, {**self._keyring.keks, **changed.keks})
        self._open()
        return True

    def _open(self) -> None:
        if self._installation is None:
            return
        keks = {it: kek for it, kek in self._keyring.keks.items() if it in self._opening}
        self._wrapper = Wrapper(keks, self._installation)
        self._sealer = Sealer(keks, self.kek_id, self._installation)

    def __repr__(self) -> str:
        return f"KeyringCustody(kek_id={self.kek_id!r})"

    def mint(self, project: str, scope: ScopeRecord) -> bytes:
        """Draw a DEK for the scope and return it wrapped under the active KEK.

        Raises:
            ValueError: ``scope.kek_id`` is not `kek_id`, or its key size is not a whole
                number of bytes within bounds.
        """
        # The record would name one KEK and the blob be under another: lost at birth.
        if scope.kek_id != self.kek_id:
            raise ValueError(
                f"the scope is for KEK {scope.kek_id!r}, the active one is {self.kek_id}"
            )
        return self._wrapper.mint(project, scope)

    def unwrap(self, project: str, scope: ScopeRecord, blob: bytes) -> bytes:
        """Return the DEK, ``key_bits / 8`` bytes.

        Raises:
            UnknownKek: ``scope.kek_id`` is not in the keyring.
            PermanentError: with `Reason.INTEGRITY`, whatever else is wrong; always the
                same for the same scope.
        """
        self._refuse_unknown(scope)
        dek = self._wrapper.unwrap(project, scope, blob)
        if dek is None:
            raise no_unwrap(scope)
        return dek

    def rewrap(self, project: str, before: ScopeRecord, after: ScopeRecord, blob: bytes) -> bytes:
        """Return the DEK of a wrapped one, wrapped under another KEK; raises as `unwrap` does."""
        self._refuse_unknown(before)
        wrapped = self._wrapper.rewrap(self._wrapper, project, before, blob, after)
        if wrapped is None:
            raise no_unwrap(before)
        return wrapped

    def _refuse_unknown(self, scope: ScopeRecord) -> None:
        if scope.kek_id not in self._opening or scope.kek_id not in self._keyring.keks:
            raise unknown_kek(scope)

    def check_dek(self, project: str, scope: ScopeRecord, blob: bytes) -> None:
        """See that the scope's DEK unwraps to its length; raises as `unwrap` does."""
        self.unwrap(project, scope, blob)

    def seal(self, place: Place, body: bytes) -> bytes:
        """Return the record ``body`` + ``,"seal":"v2.<kek_id>.<hex>"}``.

        ``body`` is a JSON object with at least one member, without its closing brace.
        """
        return self._sealer.seal(place, body)

    def check_seal(self, place: Place, record: bytes) -> bytes:
        """Return the body of a sealed record that belongs to ``place``.

        Raises:
            UnknownKek: a well-formed seal, but of a KEK that the keyring lacks.
            PermanentError: with `Reason.INTEGRITY`, whatever else is wrong.
        """
        return self._sealer.check(place, record)

    def check_values(self, *words: str) -> dict[str, str]:
        """Return, per kek_id, 64 hex digits that only a holder of that KEK can compute.

        They differ by ``words`` and say nothing about the KEK or what is derived from it
        elsewhere, so a store can keep them in the open: it knows its keyring again by them, and
        that nobody else has chosen the words.
        """
        keks = self._keyring.keks.items()
        return {kek_id: kek.derive(CHECK_LABEL, *words).hex() for kek_id, kek in keks}


def followed(path: Path, root: Root | None = None) -> KeyringCustody:
    """Open a keyring's file, whose changes can be taken up.

    Raises:
        RootAway: its root cannot be asked now.
        SetupError: it cannot be used.
    """
    file = KeyringFile(path, root)
    return KeyringCustody(file.load(), changed=file.changed)
