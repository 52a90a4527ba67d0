"""What it costs to bring a replica up to date by rsync, by its key and its cipher.

Measured on a file (docs/replication.md): shares of it hold for files of any size; what is moved
where a piece was overwritten is about a block of rsync's, which grows with the file's square root.
"""

from collections.abc import Mapping
from typing import Any, Final

from kmworker.domain.explain import Explanation
from kmworker.domain.model import Disposition, Kind
from kmworker.domain.policy import IvUse, Policy
from kmworker.domain.values import value

__all__ = ["ReplicaCost", "replica_cost"]

UNDER_ITS_OWN: Final = "other-key"
UNENCRYPTED: Final = "none"


@value
class ReplicaCost:
    """Bytes that rsync moves of a replica, as a share of its size, each time."""

    way: str
    """How it was measured: a row of docs/replication.md."""
    unchanged: float
    overwritten_bytes: int | None
    """Where 4 KiB were: of the file that was measured, about a block of rsync's, whose size grows
    with the square root of the file's; None: it is everything, whatever has changed."""
    inserted: float
    """Where 4 KiB were, at a quarter of it."""
    inserted_bytes: int | None
    """The same of this replica; None: the event has no `size_bytes`."""


def replica_cost(
    explanation: Explanation, policy: Policy, measured: Mapping[str, Any]
) -> ReplicaCost | None:
    """Return what a replica costs; None: it is none, has no decision yet, or was not measured.

    Args:
        explanation: of its event.
        policy: says where its cipher's IV comes from.
        measured: as `kmworker.files.replication` has it.
    """
    way = _way(explanation, policy)
    if way is None:
        return None
    size, own = measured["size_bytes"], explanation.size_bytes
    literal = {what: it["literal"] for what, it in measured["moved"][way].items()}
    inserted = literal["inserted"] / size
    return ReplicaCost(
        way,
        literal["unchanged"] / size,
        None if way == UNDER_ITS_OWN else literal["overwritten"],
        inserted,
        None if own is None else round(min(inserted, 1.0) * own),
    )


def _way(explanation: Explanation, policy: Policy) -> str | None:
    if not explanation.item.startswith(f"{Kind.REPLICA}:"):
        return None
    match explanation.decision:
        case Disposition.NONE:
            return UNENCRYPTED
        case Disposition.CREATE:
            return UNDER_ITS_OWN
        case Disposition.REUSE | Disposition.CLONE:
            assert explanation.encryption is not None  # noqa: S101  # it has a key
            return _under_the_same(explanation.encryption.cipher, policy)
        case _:
            return None


def _under_the_same(cipher: str, policy: Policy) -> str | None:
    listed = policy.listed(cipher)
    if listed is None or listed.iv is IvUse.RANDOM_STORED:
        return None
    if listed.iv is IvUse.POSITIONAL_STREAM:
        return "ctr"
    return "cbc-sector" if "-cbc-" in listed.name else "xts"
