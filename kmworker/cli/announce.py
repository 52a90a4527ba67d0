"""``kmworker announce``: saying stored assignments again.

What is said is what was stored, and each record's seal is checked first: subscribers act
on announcements, so a record that someone has altered is passed over and complained of.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from kmworker.announcement import announce as announcement_of
from kmworker.bus.choice import Publishing
from kmworker.bus.topology import Topology
from kmworker.cli.access import publisher_of, settings_of, vault_of, views_of
from kmworker.cli.output import complain, line, plural, print_json, progress
from kmworker.cli.program import Ending, examples, group, misused
from kmworker.errors import NotFound, PermanentError
from kmworker.message import Outgoing
from kmworker.model import Held, Item, Kind
from kmworker.store.records import RecordCodec
from kmworker.store.views import Views, portions
from kmworker.store.views_lineage import is_item_ref

__all__ = ["app"]

app = group()
Named = tuple[str, bytes]
"""An item ref and the item's record."""


@dataclass(slots=True)
class Told:
    """What has been announced so far."""

    announced: int = 0
    unrouted: int = 0
    """Of these, how many no queue was bound for."""
    without_key: int = 0
    """Items that are not encrypted: there is nothing to announce."""
    broken: int = 0
    """Records that fail authentication."""


@app.command(
    epilog=examples(
        "kmworker announce --project p1",
        "kmworker announce --project p1 volume:v1 snapshot:s1",
    )
)
def announce(
    context: typer.Context,
    refs: Annotated[
        list[str] | None, typer.Argument(metavar="REF", help="Items, instead of all of them.")
    ] = None,
    *,
    project: Annotated[str, typer.Option("--project", metavar="P", help="The items' project.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Publish stored assignments again: same ids, same bytes.

    For subscribers that are new or were restored; all others drop the repeats by their ids.
    """
    wrong = next((ref for ref in refs or [] if not is_item_ref(ref)), None)
    if wrong is not None:
        misused(f"{wrong} is no item ref: they are like volume:1111")
    settings = settings_of(context)
    views = views_of(settings)
    total, portions_of_them = _chosen(views, project, refs)
    announcing = Announcing(
        codec=RecordCodec(vault_of(settings.keyring)),
        project=project,
        source=_remembered_source(views),
        exchange=Topology(settings.broker.namespace).assignments,
    )
    with publisher_of(settings, "announce") as publisher, progress("announcing", total) as advance:
        for portion in portions_of_them:
            announcing.say(publisher, portion)
            advance(len(portion))
    _print(announcing.told, as_json=as_json)
    if announcing.told.broken:
        raise typer.Exit(Ending.FAILED)


def _chosen(
    views: Views, project: str, refs: Sequence[str] | None
) -> tuple[int, Iterable[list[Named]]]:
    """Return how many items are to be announced, and them."""
    if not refs:
        total = views.count(project, "items")
        if not total:
            hint = "kmworker show finds the project of an item"
            raise NotFound(f"project {project} has no items", hint)
        return total, views.all_records(project, "items")
    records = dict(zip(refs, views.records(project, "items", refs), strict=True))
    named = [(ref, record) for ref, record in records.items() if record is not None]
    if len(named) < len(records):
        missing = ", ".join(ref for ref, record in records.items() if record is None)
        raise NotFound(f"not in project {project}: {missing}", "nothing was announced")
    return len(named), portions(named)


def _remembered_source(views: Views) -> str:
    """Return the source that this store's announcements carry, whatever the setting says."""
    source = views.keyring().get("source")
    if source is None:
        raise NotFound("no worker has used this store yet", "check store.url and store.prefix")
    return source


class Announcing:
    """Announces a project's items, portion by portion, and counts."""

    def __init__(self, *, codec: RecordCodec, project: str, source: str, exchange: str) -> None:
        self.told = Told()
        self._codec = codec
        self._project = project
        self._source = source
        self._exchange = exchange

    def say(self, publisher: Publishing, portion: Sequence[Named]) -> None:
        """Announce these; returns when the broker has confirmed them."""
        messages = [message for named in portion if (message := self._message(*named)) is not None]
        routed = publisher.publish(messages)
        self.told.announced += len(routed)
        self.told.unrouted += routed.count(False)

    def _message(self, ref: str, record: bytes) -> Outgoing | None:
        kind, _colon, identifier = ref.partition(":")
        try:
            item = Item(self._project, Kind(kind), identifier)
            assignment, data = self._codec.read_item(item, record)
        except (PermanentError, ValueError) as broken:
            complain(f"not announced: {ref}: {broken}")
            self.told.broken += 1
            return None
        if assignment.key_id is None:
            self.told.without_key += 1
            return None
        return announcement_of(Held(assignment, None, None, data), self._source, self._exchange)


def _print(told: Told, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(told))
        return
    line(f"announced {plural(told.announced, 'assignment')}")
    if told.unrouted:
        line(f"no queue is bound for {told.unrouted:,} of them")
    if told.without_key:
        line(f"{plural(told.without_key, 'item')} without a key passed over")
    if told.broken:
        complain(
            f"{plural(told.broken, 'record')} failed authentication and passed over",
            "find out who wrote to the store; kmworker verify checks all of it",
        )
