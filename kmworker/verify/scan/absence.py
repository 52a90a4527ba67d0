"""What else is known of items that have no record."""

from kmworker.domain.model import Item
from kmworker.errors import PermanentError
from kmworker.store.reading import StoreReader
from kmworker.verify.rules.counters import FORGOTTEN, has_forgotten
from kmworker.verify.rules.indexes import lineage_member
from kmworker.verify.rules.records import Absence

__all__ = ["absence_of"]


def absence_of(reader: StoreReader, item: Item, scope_id: str | None) -> Absence:
    """Return it; read after the record, as what is forgotten is counted and leaves the lineage.

    Args:
        reader: of the store.
        item: of whatever project.
        scope_id: of which scope it was; None: of none, or that is not known.
    """
    member = lineage_member(scope_id or "", item.ref)
    wanted = {"stats": FORGOTTEN, "lineage": [member] if scope_id else []}
    try:
        found = reader.fetch(item.project, wanted)
    except PermanentError:
        # Of the wrong type: that is a finding in its turn.
        return Absence(may_be_forgotten=True)
    is_listed = found["lineage"].get(member) is not None
    return Absence(is_listed=is_listed, may_be_forgotten=has_forgotten(found["stats"]))
