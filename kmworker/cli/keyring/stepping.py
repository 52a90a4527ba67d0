"""``kmworker keyring activate`` and ``retire``: what may be done with a KEK from now on."""

from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from kmworker.cli.arguments.operators import (
    OperatorOption,
    ReasonOption,
    actor_of,
    operator_of,
)
from kmworker.cli.arguments.options import JsonOption
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.exits import ExitCode
from kmworker.cli.frame.keys import custody_of
from kmworker.cli.frame.program import examples
from kmworker.cli.frame.store import views_of
from kmworker.cli.terminal.output import complain, line, note, plural, print_json, progress
from kmworker.domain.keks import KekStates, KekStep, step_kek
from kmworker.domain.lifecycle import NoStep
from kmworker.domain.model import Place
from kmworker.store.kek_register import KekRegister
from kmworker.store.rewrapping import Reference, Rewrapping

__all__ = [
    "ACTIVATE_EXAMPLES", "RETIRE_EXAMPLES", "KekArgument", "activate", "refuse", "retire", "some",
    "tell",
]  # fmt: skip

ACTIVATE_EXAMPLES = examples(
    "kmworker keyring activate 0123456789abcdef --reason yearly",
    "kmworker keyring activate 0123456789abcdef --reason leak --json",
)
RETIRE_EXAMPLES = examples(
    "kmworker keyring retire 0123456789abcdef --reason yearly",
    "kmworker keyring retire 0123456789abcdef --reason leak --leave-flawed",
)
KekArgument = Annotated[str, typer.Argument(metavar="KEK", help="A KEK's fingerprint.")]
SHOWN = 3


def activate(
    context: typer.Context,
    kek: KekArgument,
    *,
    reason: ReasonOption,
    operator: OperatorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have all that is written from now on written under a KEK.

    Refused while a worker or a janitor that was seen lately lacks it. What is under others stays
    there until it is rewrapped. Processes take it up within seconds.
    """
    by = operator_of(operator, reason)
    settings = settings_of(context)
    custody = custody_of(settings.keyring)
    register = KekRegister(views_of(settings), custody)
    found = register.found()
    refusal = step_kek(found.keks, kek, KekStep.ACTIVATE, by, "")
    if isinstance(refusal, NoStep):
        refuse(kek, refusal)
    if kek not in custody.kek_ids:
        complain(f"KEK {kek} is not in {settings.keyring.path}", "put it there first")
        raise typer.Exit(ExitCode.FAILED)
    if lacking := list(register.lacking(kek)):
        complain(
            f"KEK {kek} is missing where these run: {some(lacking)}",
            "bring them the keyring file; one that has ended is not asked after 15 s,"
            " a janitor after two minutes",
        )
        raise typer.Exit(ExitCode.FAILED)
    tell(register.step(kek, KekStep.ACTIVATE, by, actor_of(by.name)), kek, as_json=as_json)
    note("next: kmworker rewrap")


def retire(  # noqa: PLR0913  # its options
    context: typer.Context,
    kek: KekArgument,
    *,
    reason: ReasonOption,
    operator: OperatorOption = None,
    leave_flawed: Annotated[
        bool, typer.Option("--leave-flawed", help="Although forged or damaged records name it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Have nothing accepted any more that is under a KEK.

    Refused while anything names it: all records are looked at, in projects that kmworker rewrap has
    fenced against older KEKs. From then on, what is under it is taken for forged.
    """
    by = operator_of(operator, reason)
    settings = settings_of(context)
    views, custody = views_of(settings), custody_of(settings.keyring)
    register = KekRegister(views, custody)
    found = register.found()
    refusal = step_kek(found.keks, kek, KekStep.RETIRE, by, "")
    if isinstance(refusal, NoStep):
        refuse(kek, refusal)
    run = Rewrapping(views, custody)
    projects = run.projects()
    if unfenced := [project for project in projects if not run.is_fenced(project)]:
        complain(f"not rewrapped yet: {some(unfenced)}", "kmworker rewrap")
        raise typer.Exit(ExitCode.FAILED)
    named = _named(run, projects, kek)
    in_the_way = [it for it in named if it.is_authentic or not leave_flawed]
    if in_the_way:
        places = [_told(it.place) for it in in_the_way]
        flawed = sum(not it.is_authentic for it in in_the_way)
        hint = "kmworker rewrap"
        if flawed == len(in_the_way):
            hint = "none of these is authentic: restore them from a backup, or say --leave-flawed"
        complain(f"{plural(len(places), 'record')} under KEK {kek}: {some(places)}", hint)
        raise typer.Exit(ExitCode.FAILED)
    tell(register.step(kek, KekStep.RETIRE, by, actor_of(by.name)), kek, as_json=as_json)


def _named(run: Rewrapping, projects: Sequence[str], kek: str) -> list[Reference]:
    """Return all that names a KEK."""
    found = run.references_of_no_project(kek)
    with progress("counting", len(projects)) as advance:
        for project in projects:
            for page in run.references(project, kek):
                found += page
            advance(1)
    return found


def _told(place: Place) -> str:
    return f"{place.key} {place.field} of {place.project or 'no project'}"


def some(names: Sequence[str]) -> str:
    """Return the first of these names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def refuse(kek: str, step: NoStep) -> NoReturn:
    """End a command whose step cannot be made."""
    complain(f"KEK {kek}: {step.why}", "kmworker keyring status shows all")
    raise typer.Exit(ExitCode.FAILED)


def tell(after: KekStates | NoStep, kek: str, *, as_json: bool) -> None:
    """Print what has become of a KEK; end the command if nothing has."""
    if isinstance(after, NoStep):
        refuse(kek, after)
    state = after.keks[kek].state
    if as_json:
        document = {"kek_id": kek, "state": state.value, "version": after.version}
        print_json({**document, "term": after.term})
    else:
        line(f"KEK {kek} is {state}")
