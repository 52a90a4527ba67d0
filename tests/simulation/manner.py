"""How a broker confirms: all at once, or as awkwardly as the protocol allows."""

import random
from collections.abc import Iterator, Mapping

from tests.simulation.wire import Confirm

__all__ = ["AwkwardManner", "Manner"]


class Manner:
    """Confirms at once, with as few confirms as possible."""

    def confirms(
        self,
        channel: int,
        stored: Mapping[int, bool],
        *,
        patience: bool,  # noqa: ARG002  # which this one does not ask for
    ) -> Iterator[Confirm]:
        """Give the confirms to send now.

        Args:
            channel: its number.
            stored: every unconfirmed tag, and whether its message was stored.
            patience: whether it may be late.
        """
        tags = sorted(stored)
        if tags and all(stored.values()):
            yield Confirm(channel, tags[-1], multiple=True, stored=True, covers=tags)
            return
        yield from (_single(channel, tag, stored=stored[tag]) for tag in tags)


class AwkwardManner(Manner):
    """Confirms late, in any order, some together and some alone; all from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def confirms(
        self, channel: int, stored: Mapping[int, bool], *, patience: bool
    ) -> Iterator[Confirm]:
        """Give the confirms to send now; without patience, at least one."""
        if not stored or (patience and self._random.random() < 0.5):
            return
        tags = sorted(stored)
        upto = self._random.randint(1, len(tags))
        together = tags[:upto]
        if len({stored[tag] for tag in together}) == 1 and self._random.random() < 0.5:
            yield Confirm(
                channel, together[-1], multiple=True, stored=stored[tags[0]], covers=together
            )
            return
        chosen = self._random.sample(tags, upto)
        yield from (_single(channel, tag, stored=stored[tag]) for tag in chosen)


def _single(channel: int, tag: int, *, stored: bool) -> Confirm:
    return Confirm(channel, tag, multiple=False, stored=stored, covers=[tag])
