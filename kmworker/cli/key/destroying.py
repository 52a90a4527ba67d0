"""``kmworker key destroy``: after the usual time, or at once."""

from typing import Annotated, Any, Final

import typer

from kmworker.cli.arguments.moments import age_option
from kmworker.cli.arguments.operators import OperatorOption, ReasonOption, operator_of
from kmworker.cli.arguments.options import JsonOption
from kmworker.cli.frame.exits import ExitCode, misused
from kmworker.cli.frame.program import examples
from kmworker.cli.key.changing import KeyRoom, key_room, made, sentence, shown
from kmworker.cli.key.options import KeyArgument, ProjectOption, key_id_of
from kmworker.cli.terminal.output import (
    complain,
    line,
    note,
    print_json,
    progress,
    typed,
)
from kmworker.domain.keys import MANUAL, Operator
from kmworker.domain.lifecycle import NoStep, Step
from kmworker.domain.model import KeyRecord
from kmworker.domain.retention import ordered
from kmworker.errors import StoreUnavailable
from kmworker.janitor.dates import DAY_S
from kmworker.store.retention import RedisRetention

__all__ = ["EXAMPLES", "destroy"]

EXAMPLES = examples(
    "kmworker key destroy volume:1111 --project p1 --reason 'tenant has left'",
    "kmworker key destroy volume:1111 --project p1 --reason 'request 4711' --now",
)
ROUNDS: Final = 5
# Where the configuration leaves it to people.
USUAL_DAYS: Final = 30


def destroy(  # noqa: PLR0913  # its options
    context: typer.Context,
    key: KeyArgument,
    *,
    project: ProjectOption,
    reason: ReasonOption,
    operator: OperatorOption = None,
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="AGE", help="In so long, instead of the usual time: 7d."),
    ] = None,
    now: Annotated[
        bool, typer.Option("--now", help="At once; asks for the key-id typed again.")
    ] = False,
    again: Annotated[
        str | None,
        typer.Option("--again", metavar="KEY-ID", help="The key-id, where nobody can type it."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Destroy a key-id that nobody holds: in retention.destroy_after_days, or with --now at once.

    Where that is manual, in 30 days. Until then `kmworker key restore` takes it back. The last
    key-id of a scope takes the DEK with it: no data under it can ever be read again. First all
    items of the project are counted.
    """
    by = operator_of(operator, reason)
    if again is not None and not now:
        misused("--again goes with --now")
    if after is not None and now:
        misused("--after and --now exclude each other")
    after_s = age_option("--after", after)
    room = key_room(context)
    key_id = key_id_of(room.views, project, key)
    if now:
        _refuse_other(again, key_id)
        found = _at_once(room, project, key_id, by)
    else:
        if after_s is None and room.settings.retention.destroy_after_days == MANUAL:
            after_s = USUAL_DAYS * DAY_S
        found = made(room, project, key_id, Step.ORDER, by, after_s=after_s)
    if isinstance(found, NoStep):
        complain(f"key-id {key_id}: {found.why}", "kmworker key show says who holds it")
        raise typer.Exit(ExitCode.FAILED)
    _tell(project, found, as_json=as_json)


def _refuse_other(again: str | None, key_id: str) -> None:
    question = f"type the key-id to destroy it for ever: {key_id}"
    said = typed(question, "--again") if again is None else again
    if said != key_id:
        misused(f"{said or 'nothing'} is not {key_id}: nothing was destroyed")


def _at_once(room: KeyRoom, project: str, key_id: str, by: Operator) -> KeyRecord | NoStep:
    """Count, and destroy if nobody holds it.

    Raises:
        StoreUnavailable: it changes so often that nobody gets hold of it.
    """
    retention = RedisRetention(room.views, room.codec)
    for _ in range(ROUNDS):
        seen, now_s = room.seen(project, key_id), room.views.clock_s()
        with progress("counting who holds it", retention.size(project)) as advance:
            count = retention.count(project, [key_id], [seen.key.scope_id], advance)
        if count.flawed:
            return NoStep(f"{count.flawed[0]} fails authentication, and may hold it")
        if key_id in count.partitions and not count.holders[key_id]:
            # Nothing else says of a partition that it is gone; its next replica founds it anew.
            partition = count.partitions[key_id]
            retention.end_partition(project, partition, seen, room.moment(now_s), by)
            continue
        found = ordered(seen, count, by, room.moment(now_s))
        if isinstance(found, NoStep):
            return found
        forget_at_s = now_s + room.settings.retention.tombstone_days * DAY_S
        if retention.destroy(
            project, seen, found.after, is_last=found.is_last, forget_at_s=forget_at_s
        ):
            return found.after
        note("something has changed meanwhile: counting again")
    raise StoreUnavailable(f"key-id {key_id} changed {ROUNDS} times in a row: try again")


def _tell(project: str, after: KeyRecord, *, as_json: bool) -> None:
    change = after.changed
    assert change is not None  # noqa: S101  # it was changed
    if as_json:
        document: dict[str, Any] = shown(project, after)
        if change.dek_destroyed is not None:
            document["dek_destroyed"] = change.dek_destroyed
            document["dek_named_by"] = list(change.dek_named_by)
        print_json(document)
        return
    line(sentence(after))
    if change.dek_destroyed:
        line("its DEK is destroyed, too; copies of the store from before still have it, wrapped")
    elif change.dek_named_by:
        others = ", ".join(change.dek_named_by)
        line(f"its DEK is not: it has other names: {others}")
