"""How a broker confirms: at once, late, or as awkwardly as the protocol allows."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from tests.kit.simulator.wire import Confirm, ServerChannel

# As often as a worker looks at its connections while a batch of its goes on.
LOOKS: Final = 4


class Manner:
    """Confirms at once, with as few confirms as possible."""

    def confirms(
        self,
        channel: ServerChannel,
        stored: Mapping[int, bool],
        *,
        patience: bool,  # noqa: ARG002  # which this one does not ask for
    ) -> Iterator[Confirm]:
        """Give the confirms to send now.

        Args:
            channel: the broker's end of it.
            stored: every unconfirmed tag, and whether its message was stored.
            patience: whether it may be late.
        """
        tags = sorted(stored)
        if tags and all(stored.values()):
            yield Confirm(channel.number, tags[-1], multiple=True, stored=True, covers=tags)
            return
        yield from (_single(channel, tag, stored=stored[tag]) for tag in tags)


class LateManner(Manner):
    """Confirms when it was looked at often enough, so that other batches go on meanwhile."""

    def __init__(self) -> None:
        self._looks: Counter[tuple[ServerChannel, int]] = Counter()

    def confirms(
        self, channel: ServerChannel, stored: Mapping[int, bool], *, patience: bool
    ) -> Iterator[Confirm]:
        """Give the confirms to send now; without patience, all."""
        for tag in stored:
            self._looks[channel, tag] += 1
        old = [tag for tag in stored if not patience or self._looks[channel, tag] > LOOKS]
        yield from super().confirms(channel, {tag: stored[tag] for tag in old}, patience=patience)


class AwkwardManner(Manner):
    """Confirms late, in any order, some together and some alone; all from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def confirms(
        self, channel: ServerChannel, stored: Mapping[int, bool], *, patience: bool
    ) -> Iterator[Confirm]:
        """Give the confirms to send now; without patience, at least one."""
        if not stored or (patience and self._random.random() < 0.5):
            return
        tags = sorted(stored)
        upto = self._random.randint(1, len(tags))
        together = tags[:upto]
        if len({stored[tag] for tag in together}) == 1 and self._random.random() < 0.5:
            yield Confirm(
                channel.number, together[-1], multiple=True, stored=stored[tags[0]], covers=together
            )
            return
        chosen = self._random.sample(tags, upto)
        yield from (_single(channel, tag, stored=stored[tag]) for tag in chosen)


def _single(channel: ServerChannel, tag: int, *, stored: bool) -> Confirm:
    return Confirm(channel.number, tag, multiple=False, stored=stored, covers=[tag])
