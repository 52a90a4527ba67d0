"""`km:keyring`: whose store this is, and what may be done with each KEK.

Sealed under each KEK that is not removed, so that whoever has one of them knows the store for his
own, and reads which others he needs. Only key operators change it once it is there.
"""

import hmac
from collections.abc import Mapping
from itertools import chain
from typing import Any, Final, Protocol

from pydantic_core import from_json, to_json

from kmworker.domain.keks import KekEntry, KekState, KekStates, begun
from kmworker.domain.keys import Operator
from kmworker.store.layout import RESTORE, LayoutAltered, LayoutCustody, check_values, other_keyring

__all__ = [
    "STATES", "KekCustody", "changes_of", "check_values_in", "keks_named", "keyring_fields",
    "refuse_missing", "refuse_other_keyring", "states_in",
]  # fmt: skip

CHECK: Final = "check:"
SEAL: Final = "seal:"
STATES: Final = "states"
KEK_IDS: Final = "kek_ids"
LABEL: Final = "keks"


class KekCustody(LayoutCustody, Protocol):
    """What a custody must do for the KEKs of a store."""

    term: int

    @property
    def kek_ids(self) -> frozenset[str]:
        """Return the fingerprints of all KEKs in the keyring."""
        ...

    def use(self, active: str, opening: frozenset[str], term: int) -> None:
        """Write under this KEK, and open under these, from now on.

        Raises:
            UnknownKek: the keyring lacks the active one.
        """
        ...

    def take_up(self) -> bool:
        """Take the keyring anew if its file has changed; return whether it has."""
        ...


def keyring_fields(source: str, installation: str, custody: KekCustody, at: str) -> list[str]:
    """Return the fields and values of `km:keyring` for a store that nobody has used before."""
    states = begun(custody.kek_ids, custody.kek_id, at)
    changed, _gone = changes_of(states, source, installation, custody)
    return ["source", source, *chain(*changed.items())]


def changes_of(
    states: KekStates, source: str, installation: str, custody: KekCustody
) -> tuple[dict[str, str], list[str]]:
    """Return what is to be written of these states, and the fields that are to go.

    Only a holder of the active KEK can write them so that they are believed.
    """
    text = to_json(_fields(states)).decode()
    present = states.present
    checks, seals = check_values(custody, installation, source), _seals(text, installation, custody)
    ours = [kek_id for kek_id in present if kek_id in seals]
    changed = {STATES: text, KEK_IDS: " ".join(present)}
    changed |= {SEAL + kek_id: seals[kek_id] for kek_id in ours}
    changed |= {CHECK + kek_id: checks[kek_id] for kek_id in ours}
    # What we cannot seal anew is of the states before these.
    gone = [SEAL + kek_id for kek_id in states.keks if kek_id not in ours]
    gone += [CHECK + kek_id for kek_id in states.keks if kek_id not in present]
    return changed, gone


def states_in(
    keyring: Mapping[str, str], installation: str, custody: KekCustody, key: str
) -> KekStates:
    """Return what a store says of its KEKs.

    Args:
        keyring: the hash.
        installation: whose store it is.
        custody: with one of the KEKs at least that it is sealed under.
        key: where it is, for messages.

    Raises:
        LayoutAltered: somebody wrote there who lacks the active KEK.
        SetupError: it is of another keyring.
    """
    text = keyring.get(STATES, "")
    try:
        states = _states(from_json(text))
        active, present = states.active, states.present
    except (AttributeError, KeyError, StopIteration, TypeError, ValueError):
        # Nobody's seal is on what no release wrote.
        raise _altered(key) from None
    ours, theirs = _seals(text, installation, custody), _by_kek(keyring, SEAL)
    common = [kek_id for kek_id in present if kek_id in ours and kek_id in theirs]
    if not common:
        raise other_keyring(active, key)
    if active not in theirs:
        raise _altered(key)
    if not all(hmac.compare_digest(ours[it].encode(), theirs[it].encode()) for it in common):
        raise _altered(key)
    return states


def keks_named(states: bytes | str | None) -> dict[str, KekEntry]:
    """Return what a store says of KEKs, for whoever only shows it: its seal is not looked at.

    Args:
        states: `STATES` of the hash; what no release wrote names none.
    """
    try:
        return dict(_states(from_json(states or b"{}")).keks)
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def check_values_in(found: Mapping[str, str]) -> dict[str, str]:
    """Return, per kek_id, the check value that a store's keyring hash holds."""
    return _by_kek(found, CHECK)


def refuse_other_keyring(theirs: Mapping[str, str], ours: Mapping[str, str], key: str) -> None:
    """Compare the check values in a store with those of our keyring.

    Args:
        theirs: as in the store.
        ours: as our keyring makes them.
        key: where the store's are, for messages.

    Raises:
        SetupError: we have none of the KEKs that it is under, or someone wrote there.
    """
    if theirs and not theirs.keys() & ours.keys():
        raise other_keyring(next(iter(theirs)), key)
    for kek_id, value in theirs.items():
        if kek_id in ours and value != ours[kek_id]:
            raise LayoutAltered(
                f"{key} has been altered: its source does not fit its check value for KEK {kek_id}",
                RESTORE,
            )


def refuse_missing(theirs: Mapping[str, str], ours: Mapping[str, str], key: str) -> None:
    """Refuse a keyring that lacks one of the KEKs that a store of a former layout is under.

    Raises:
        SetupError: it does.
    """
    for kek_id in theirs:
        if kek_id not in ours:
            raise other_keyring(kek_id, key)


def _by_kek(found: Mapping[str, str], kind: str) -> dict[str, str]:
    return {it.removeprefix(kind): value for it, value in found.items() if it.startswith(kind)}


def _seals(text: str, installation: str, custody: LayoutCustody) -> dict[str, str]:
    return custody.check_values(LABEL, installation, text)


def _altered(key: str) -> LayoutAltered:
    return LayoutAltered(f"{key} has been altered: its states of KEKs are not as sealed", RESTORE)


def _fields(states: KekStates) -> dict[str, Any]:
    return {
        "version": states.version,
        "term": states.term,
        "keks": {kek_id: _entry_fields(entry) for kek_id, entry in states.keks.items()},
    }


def _entry_fields(entry: KekEntry) -> dict[str, str]:
    fields = {"state": entry.state.value, "at": entry.at}
    if entry.by is not None:
        fields |= {"by": entry.by.name, "reason": entry.by.reason}
    return fields


def _states(fields: Mapping[str, Any]) -> KekStates:
    keks = {str(kek_id): _entry(entry) for kek_id, entry in fields["keks"].items()}
    return KekStates(int(fields["version"]), int(fields["term"]), keks)


def _entry(fields: Mapping[str, str]) -> KekEntry:
    by = Operator(fields["by"], fields["reason"]) if "by" in fields else None
    return KekEntry(KekState(fields["state"]), fields["at"], by)
