"""How many commits a store has seen: read as a whole, to be compared with what is remembered.

Each project has a number of its own. The script that writes records counts it up in the same
step, in the same slot: whatever becomes of the one becomes of the other. Beside them stands
one number for all projects. Workers add to it what they have seen written, and nothing else:
what they could not see (a lost reply, a crash) is left out. So it is never more than the sum,
and a sum below it says that records are gone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import ResponseError

from kmworker.store.counts import MAX_DIGITS, number_in
from kmworker.store.inspection import pages
from kmworker.store.names import Names

__all__ = [
    "FORGIVEN",
    "INCIDENT",
    "MAX_BELIEVED",
    "NUMBER",
    "Commits",
    "numbers_of_all",
    "read_commits",
]

NUMBER: Final = "number"
"""Field of `km:commits`: at most the sum of all projects' numbers, and of `FORGIVEN`."""
FORGIVEN: Final = "forgiven"
"""Field of `km:commits`: how many lost commits a person has accepted."""
INCIDENT: Final = "incident"
"""Field of `km:commits`: the name of a loss that no person has accepted yet."""
PAGE_SIZE: Final = 1000
MAX_BELIEVED: Final = 10 ** (MAX_DIGITS - 1)
"""A thousand years of 3,000 commits a second: what is beyond it someone wrote there. Counting must
not go on from it, also not by a person's word, or it soon comes to where it ends."""
NO_HASH: Final = (b"no hash", None, None)


@dataclass(frozen=True, slots=True)
class Commits:
    """What a store says of its commits."""

    number: int | None
    """None: someone has written something else there."""
    forgiven: int
    incident: bytes | None
    of: Mapping[str, int]
    """The number of each project; 0 where there is none that could be one."""
    listed: frozenset[str]
    """The projects that `km:projects` names."""

    @property
    def sum(self) -> int:
        """Return how many commits there are, or were and were given up."""
        return sum(self.of.values()) + self.forgiven


def read_commits(client: Any, names: Names, also: Iterable[str] = ()) -> Commits:  # noqa: ANN401  # the library's types leave open whether replies are bytes
    """Read all numbers, in pages.

    Others may count meanwhile. What they found before it they have counted before, so the
    number of all comes first, and the projects' numbers are at least what it rests on.

    Args:
        client: of the store.
        names: of its keys.
        also: projects that are to be there, whether they are listed or not.

    Raises:
        RedisError: the store does not answer, or refuses.
    """
    number, forgiven, incident = numbers_of_all(client, names.top("commits"))
    listed = {
        name.decode(errors="replace")
        for name in client.sscan_iter(names.top("projects"), count=PAGE_SIZE)
    }
    found: dict[str, int] = {}
    for page in pages(listed.union(also), PAGE_SIZE):
        values = client.mget([names.of(project, "commits") for project in page])
        found.update(
            (project, number_in(value) or 0) for project, value in zip(page, values, strict=True)
        )
    return Commits(number_in(number), number_in(forgiven) or 0, incident, found, frozenset(listed))


def numbers_of_all(client: Any, key: str) -> Sequence[bytes | None]:  # noqa: ANN401  # as above
    """Return `NUMBER`, `FORGIVEN` and `INCIDENT` as they stand in `km:commits`.

    Raises:
        RedisError: the store does not answer, or refuses.
    """
    try:
        found: Sequence[bytes | None] = client.hmget(key, NUMBER, FORGIVEN, INCIDENT)
    except ResponseError as error:
        if "WRONGTYPE" not in str(error):
            raise
        return NO_HASH
    return found
