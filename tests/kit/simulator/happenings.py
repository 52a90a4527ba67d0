"""What happens between two goes of a history, apart from faults: time, people, and restarts."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Final, Protocol

from kmworker.domain.model import Item
from tests.kit.simulator.events import Sent
from tests.kit.simulator.installation import Installation

ELSEWHERE: Final = "00000000-0000-4000-8000-0000000e15e0"
# What an item's assignment consists of.
RECORDS: Final = ("items", "keys", "scopes", "deks")

Rows = Mapping[str, Mapping[bytes, bytes]]


class Post(Protocol):
    """Where a supervisor keeps a worker running."""

    def hand_over(self) -> None:
        """End the process, and let another go on."""
        ...


Happening = Callable[[Installation, Sequence[Post]], None]


def passes(seconds: float) -> Happening:
    """Let time pass."""
    return lambda site, _posts: site.let_pass(seconds)


def hands_over(_site: Installation, posts: Sequence[Post]) -> None:
    """Let other processes go on, which remember nothing, on machines with clocks of their own."""
    for post in posts:
        post.hand_over()


def loses_records(*items: Item) -> Happening:
    """Someone deletes the records of these items."""

    def happen(site: Installation, _posts: Sequence[Post]) -> None:
        for item in items:
            site.lose_record(item)

    return happen


def receives_record(sent: Sent) -> Happening:
    """Someone writes to the store what this event came to in another, under the same keyring."""

    def happen(site: Installation, _posts: Sequence[Post]) -> None:
        for name, rows in _assigned_elsewhere(sent).items():
            site.redis.hset(site.names.of(sent.item.project, name), mapping=rows)
        site.altered.add(sent.item)
        site.ledger.on_outsider()

    return happen


def miscounts(item: Item, by: int) -> Happening:
    """The counter of those who hold an item's key-id comes to say something else."""

    def happen(site: Installation, _posts: Sequence[Post]) -> None:
        record = site.record(item)
        assert record is not None
        site.redis.hincrby(site.names.of(item.project, "holders"), record["data"]["key_id"], by)
        site.ledger.chronicle.is_miscounted = True
        site.ledger.on_outsider()

    return happen


def fills_trail(site: Installation, _posts: Sequence[Post]) -> None:
    """There comes to be no room for records of the audit trail."""
    names = site.broker.topology
    site.broker.declare_exchange(names.audit)
    site.broker.bind(names.audit, names.audit, "record.#").limit = 0


def empties_trail(site: Installation, _posts: Sequence[Post]) -> None:
    """There is room again."""
    site.broker.queues[site.broker.topology.audit].limit = None


def loses_project(project: str) -> Happening:
    """All keys of a project are gone, its number of commits with them; then workers restart.

    So it was when Redis read its own file as a user without rights: what is no transaction was
    there again, and nothing else.
    """

    def happen(site: Installation, posts: Sequence[Post]) -> None:
        site.lose_project(project)
        hands_over(site, posts)

    return happen


@cache
def _assigned_elsewhere(sent: Sent) -> Rows:
    site = Installation(installation=ELSEWHERE, reports=False)
    site.handle(sent)
    return {name: site.redis.hgetall(site.names.of(sent.item.project, name)) for name in RECORDS}
