"""``kmworker key suspend``, ``resume`` and ``restore``: one key-id, one step."""

from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from kmworker.cli.arguments.moments import age_option
from kmworker.cli.arguments.operators import OperatorOption, ReasonOption, operator_of
from kmworker.cli.arguments.options import JsonOption
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.exits import ExitCode
from kmworker.cli.frame.keys import custody_in
from kmworker.cli.frame.program import examples
from kmworker.cli.frame.store import views_of
from kmworker.cli.key.options import KeyArgument, ProjectOption, key_id_of
from kmworker.cli.terminal.output import complain, line, print_json
from kmworker.clock import rfc3339
from kmworker.domain.keys import Operator
from kmworker.domain.lifecycle import NoStep, Step, step
from kmworker.domain.model import KeyRecord
from kmworker.domain.retention import Change, KeySeen, Moment
from kmworker.errors import NotFound, StoreUnavailable
from kmworker.janitor.dates import destroy_at
from kmworker.settings import Settings
from kmworker.store.inspection import Views
from kmworker.store.key_states import KeyStates, holders_of
from kmworker.store.records import RecordCodec

__all__ = [
    "RESTORE_EXAMPLES", "RESUME_EXAMPLES", "SUSPEND_EXAMPLES", "KeyRoom", "key_room", "restore",
    "resume", "shown", "suspend",
]  # fmt: skip

ROUNDS: Final = 10
SUSPEND_EXAMPLES = examples(
    "kmworker key suspend volume:1111 --project p1 --reason 'host seized'",
    "kmworker key suspend 5f0e1c9a-0000-4000-8000-000000000000 \\",
    "    --project p1 --reason audit",
)
RESUME_EXAMPLES = examples(
    "kmworker key resume volume:1111 --project p1 --reason 'host is back'",
)
RESTORE_EXAMPLES = examples(
    "kmworker key restore volume:1111 --project p1 --reason 'deleted by mistake'",
    "kmworker key restore volume:1111 --project p1 --for 90d --reason audit",
)


@dataclass(frozen=True, slots=True)
class KeyRoom:
    """A store, for whoever changes its keys."""

    settings: Settings
    views: Views
    codec: RecordCodec
    states: KeyStates

    def seen(self, project: str, key_id: str) -> KeySeen:
        """Return a key-id as it is.

        Raises:
            NotFound: there is none.
        """
        found = self.states.read(project, [key_id])
        if key_id not in found:
            hint = "kmworker key list shows those there are"
            raise NotFound(f"no key-id {key_id} in project {project}", hint)
        return found[key_id]

    def destroy_at(self, now_s: float, after_s: float | None = None) -> str:
        """Return when what is deactivated now is destroyed: ``after_s``, or as is configured."""
        if after_s is not None:
            return rfc3339(now_s + after_s)
        settings = self.settings
        return destroy_at(now_s, settings.retention, settings.waiting.deadline_s)

    def moment(self, now_s: float) -> Moment:
        """Return this moment; Unix seconds."""
        return Moment(rfc3339(now_s), self.destroy_at(now_s))


def key_room(context: typer.Context) -> KeyRoom:
    """Open the store for changes of keys.

    Raises:
        NotFound: no worker has used it yet.
        SetupError: it cannot be used.
    """
    settings = settings_of(context)
    views = views_of(settings)
    codec = RecordCodec(custody_in(settings, views))
    return KeyRoom(settings, views, codec, KeyStates(views, codec))


def suspend(  # noqa: PLR0913  # its options
    context: typer.Context,
    key: KeyArgument,
    *,
    project: ProjectOption,
    reason: ReasonOption,
    operator: OperatorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have a key given to nobody until it is resumed.

    It is not destroyed meanwhile, but by command. Copies that share it as they are go on sharing
    it; what is written anew gets a key of its own.
    """
    _step(context, key, project, Step.SUSPEND, operator_of(operator, reason), as_json=as_json)


def resume(  # noqa: PLR0913  # its options
    context: typer.Context,
    key: KeyArgument,
    *,
    project: ProjectOption,
    reason: ReasonOption,
    operator: OperatorOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a key's suspension: it is active, or deactivated if nobody holds it."""
    _step(context, key, project, Step.RESUME, operator_of(operator, reason), as_json=as_json)


def restore(  # noqa: PLR0913  # its options
    context: typer.Context,
    key: KeyArgument,
    *,
    project: ProjectOption,
    reason: ReasonOption,
    keep: Annotated[
        str, typer.Option("--for", metavar="AGE", help="For how long, if nobody joins it: 30d.")
    ] = "30d",
    operator: OperatorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep a key that nobody holds from being destroyed.

    It is active again. After that time it is deactivated once more, unless an item holds it then.
    """
    keep_s = age_option("--for", keep)
    by = operator_of(operator, reason)
    _step(context, key, project, Step.RESTORE, by, as_json=as_json, keep_s=keep_s)


def _step(  # noqa: PLR0913  # what is asked for
    context: typer.Context,
    key: str,
    project: str,
    what: Step,
    by: Operator,
    *,
    as_json: bool,
    keep_s: float | None = None,
) -> None:
    room = key_room(context)
    key_id = key_id_of(room.views, project, key)
    after = made(room, project, key_id, what, by, keep_s=keep_s)
    if isinstance(after, NoStep):
        complain(f"key-id {key_id}: {after.why}", "kmworker key show says how it came to that")
        raise typer.Exit(ExitCode.FAILED)
    if as_json:
        print_json(shown(project, after))
    else:
        line(sentence(after))


def made(  # noqa: PLR0913  # what a step may depend on
    room: KeyRoom,
    project: str,
    key_id: str,
    what: Step,
    by: Operator,
    *,
    keep_s: float | None = None,
    after_s: float | None = None,
) -> KeyRecord | NoStep:
    """Make a step; return the key-id's record since then, or why it cannot be made.

    Raises:
        StoreUnavailable: it changes so often that nobody gets hold of it.
    """
    for _ in range(ROUNDS):
        seen, now_s = room.seen(project, key_id), room.views.clock_s()
        after = step(
            seen.key,
            seen.scope,
            what,
            by=by,
            at=rfc3339(now_s),
            destroy_at=room.destroy_at(now_s, after_s),
            holders=holders_of(seen),
            active_until=None if keep_s is None else rfc3339(now_s + keep_s),
        )
        if isinstance(after, NoStep):
            return after
        assert after is not None  # noqa: S101  # what a person asks for is done or refused
        if all(room.states.change(project, [Change(seen, after, compares_holders=True)])):
            return after
    raise StoreUnavailable(f"key-id {key_id} changed {ROUNDS} times in a row: try again")


def shown(project: str, key: KeyRecord) -> dict[str, Any]:
    """Return a change as JSON says it."""
    assert key.changed is not None  # noqa: S101  # it was changed
    document: dict[str, Any] = {
        "project": project,
        "key_id": key.key_id,
        "event": key.changed.event.value,
        "state": key.changed.state.value,
        "version": key.version,
    }
    for name in ("destroy_at", "active_until"):
        if (at := getattr(key, name)) is not None:
            document[name] = at
    return document


def sentence(key: KeyRecord) -> str:
    """Return a change in words."""
    assert key.changed is not None  # noqa: S101  # it was changed
    parts = [f"key-id {key.key_id} is {key.changed.state}, version {key.version}"]
    if key.active_until is not None:
        parts.append(f"until {key.active_until} if nobody joins it")
    if key.destroy_at is not None:
        parts.append(f"to be destroyed: {key.destroy_at}")
    return "; ".join(parts)
