"""What the store has of what was asked for, where a KEK may be on its way to this host."""

from collections.abc import Sequence

from kmworker.domain.grants import NO_GRANTS
from kmworker.errors import UnknownKek
from kmworker.keyserver.ports import FoundKey, KeyStore
from kmworker.wire.answers.bodies import Asked

__all__ = ["find_all"]


def find_all(store: KeyStore, asked: Sequence[Asked]) -> Sequence[FoundKey]:
    """Return what the store has of each.

    Raises:
        StoreUnavailable: it does not answer.
    """
    if not asked:
        return []
    try:
        return store.find(asked)
    except UnknownKek:
        # Somebody's record: it is nobody else's trouble.
        return [_found_alone(store, it) for it in asked]


def _found_alone(store: KeyStore, asked: Asked) -> FoundKey:
    try:
        (found,) = store.find([asked])
    except UnknownKek as unknown:
        flaw = f"it is under KEK {unknown.kek_id}, which is not on this host"
        return FoundKey(None, None, None, None, NO_GRANTS, flaw, awaits_kek=True)
    return found
