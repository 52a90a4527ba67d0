"""What former layouts did not count: commits of each project, clones, and wraps."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from pydantic_core import from_json

from kmworker.domain.model import KeyState, Place
from kmworker.errors import PermanentError, UnknownKek
from kmworker.store.commits import FORGIVEN, NUMBER, read_commits
from kmworker.store.connection import store_errors
from kmworker.store.inspection import Views
from kmworker.store.key_records import key_in
from kmworker.store.reading import Named, text
from kmworker.store.wraps import WRAPS

__all__ = ["count_clones", "count_wraps", "number_commits"]


class SealCheck(Protocol):
    """What checks a record's seal."""

    def check_seal(self, place: Place, record: bytes) -> bytes:
        """Return a sealed record's body; see `kmworker.ports.Custody.check_seal`."""
        ...


def count_clones(project: str, pages: Iterable[Sequence[Named]], seals: SealCheck) -> Counter[str]:
    """Return by scope-id how many key-ids of a project were cloned into it.

    What fails authentication, or is of a KEK that we lack, counts for nothing: `verify` names it.
    """
    counted: Counter[str] = Counter()
    # A scan may give one twice.
    seen: set[bytes] = set()
    for page in pages:
        for field, raw in page:
            scope_id = _scope_of_clone(Place(project, "keys", text(field)), raw, seals)
            if scope_id is not None and field not in seen:
                seen.add(field)
                counted[scope_id] += 1
    return counted


def _scope_of_clone(place: Place, raw: bytes, seals: SealCheck) -> str | None:
    try:
        key = key_in(place.field, from_json(seals.check_seal(place, raw) + b"}"))
    except (PermanentError, UnknownKek):
        return None
    is_clone = key.cloned_from is not None and key.state is not KeyState.DESTROYED
    return key.scope_id if is_clone else None


def count_wraps(views: Views, kek_ids: Iterable[str], scopes: int) -> None:
    """Count the DEKs of a store of a former layout, under whichever KEK each is.

    Raises:
        StoreUnavailable: the store refuses.
    """
    pipeline = views.client.pipeline(transaction=False)
    for kek_id in sorted(kek_ids):
        pipeline.hincrby(views.names.top(WRAPS), kek_id, scopes)
    with store_errors():
        pipeline.execute()


def number_commits(views: Views, sizes: Mapping[str, Mapping[str, int]]) -> None:
    """Give each project a number of commits, which layout 1 counted for all together.

    As many as it has records: a project that is lost from now on is missed. What is short of
    the number of all counts as forgiven, so that nobody takes it for lost.

    Args:
        views: the store.
        sizes: how many records there are, by project and key.
    """
    key = views.names.top("commits")
    with store_errors():
        pipeline = views.client.pipeline(transaction=False)
        for project, size in sizes.items():
            number = max(1, size["items"] + size["parked"])
            pipeline.set(views.names.of(project, "commits"), number, nx=True)
        pipeline.execute()
        found = read_commits(views.client, views.names, list(sizes))
        # Also when it is done again: what was forgiven the first time is not in the projects.
        total = sum(found.of.values())
        number = max(found.number or 0, total)
        fields = {NUMBER: number, FORGIVEN: number - total}
        views.client.hset(key, mapping=fields)
