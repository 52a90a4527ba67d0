"""The custody of layout 1, for carrying its records over: nothing is written by it.

Layout 1 knew of no installation: under one keyring a record of one store was as good in
another. Whatever reads it moves on to a `KeyringCustody` that has entered one.
"""

from kmworker.crypto.keyring import Keyring
from kmworker.crypto.record_mac import Sealer
from kmworker.crypto.wrapping import Wrapper, no_unwrap, unknown_kek
from kmworker.domain.model import Place, ScopeRecord
from kmworker.secrecy import Secret

__all__ = ["FormerCustody"]


class FormerCustody(Secret):
    """Opens what was sealed and wrapped before installations had ids."""

    def __init__(self, keyring: Keyring, installation: str) -> None:
        """Carry over to an installation; one that is drawn for nothing does for a rehearsal."""
        self._kek_ids = frozenset(keyring.keks)
        self._sealer = Sealer(keyring.keks, keyring.newest, None)
        self._former = Wrapper(keyring.keks, None)
        self._wrapper = Wrapper(keyring.keks, installation)

    def check_seal(self, place: Place, record: bytes) -> bytes:
        """Return a sealed record's body; see `kmworker.ports.Custody.check_seal`."""
        return self._sealer.check(place, record)

    def rewrap(self, project: str, scope: ScopeRecord, blob: bytes) -> bytes:
        """Return the scope's wrapped DEK, wrapped for the installation.

        Raises:
            UnknownKek: ``scope.kek_id`` is not in the keyring.
            PermanentError: with `Reason.INTEGRITY`: it does not unwrap.
        """
        if scope.kek_id not in self._kek_ids:
            raise unknown_kek(scope)
        wrapped = self._wrapper.rewrap(self._former, project, scope, blob)
        if wrapped is None:
            raise no_unwrap(scope)
        return wrapped
