"""What a key server counts about itself, for dashboards and logs."""

from collections import Counter
from collections.abc import Sequence

from kmworker.domain.message import Confirm
from kmworker.wire.answers.messages import Refusal

__all__ = ["AnswerTally"]


class AnswerTally:
    """Counters since the start.

    Attributes:
        waiting: requests that wait for their grants now.
        trouble: what keeps keys from being delivered now, for a person; empty: nothing.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self.trouble = ""
        self._counts: Counter[str] = Counter()

    def delivered(self) -> None:
        """Count a key that leaves."""
        self._counts["delivered"] += 1

    def refused(self, reason: Refusal) -> None:
        """Count a refusal."""
        self._counts["refused"] += 1
        self._counts[f"refused_{reason.value}"] += 1

    def dropped(self, why: str) -> None:
        """Count what nobody authenticated has sent: it is neither answered nor recorded."""
        self._counts["dropped"] += 1
        self._counts[f"dropped_{why}"] += 1

    def unrouted(self, confirms: Sequence[Confirm]) -> None:
        """Count the answers whose clients were gone."""
        self._counts["unrouted"] += sum(it is not Confirm.STORED for it in confirms)

    def revoked(self, copies: int, told: int) -> None:
        """Count copies that are to be given up, and the clients' processes that are told."""
        self._counts["revoked"] += copies
        self._counts["revoked_told"] += told

    @property
    def counts(self) -> dict[str, int]:
        """Return all counters."""
        return {name.replace("-", "_"): number for name, number in self._counts.items()}
