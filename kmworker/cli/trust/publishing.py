"""``kmworker trust publish`` and ``show``: the list that key servers hand out."""

import json
import sys
from pathlib import Path
from time import time
from typing import Annotated, Any

import typer

from kmworker.cli.arguments.operators import actor_of
from kmworker.cli.arguments.options import JsonOption
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.exits import ExitCode
from kmworker.cli.frame.keys import custody_of
from kmworker.cli.frame.program import examples
from kmworker.cli.frame.store import views_of
from kmworker.cli.terminal.output import complain, display, grid, line, note, print_json
from kmworker.clock import rfc3339
from kmworker.delegation.trust_list import HandedOut, TrustList, newest
from kmworker.errors import SetupError, Untrusted
from kmworker.store.admission import enter
from kmworker.store.client_register import ClientRegister, record_of_list
from kmworker.store.records import RecordCodec

__all__ = ["PUBLISH_EXAMPLES", "SHOW_EXAMPLES", "publish", "show"]

PUBLISH_EXAMPLES = examples(
    "kmworker trust publish list.json", "kmworker trust publish - < list.json"
)
SHOW_EXAMPLES = examples("kmworker trust show", "kmworker trust show --json")


def publish(
    context: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="What kmworker trust sign has printed; - is standard input."
        ),
    ],
    *,
    new_root: Annotated[
        bool,
        typer.Option(
            "--new-root", help="Although another root key signed it: all clients are enrolled anew."
        ),
    ] = False,
) -> None:
    """Have key servers hand out a signed list; they take it up within seconds.

    A list with a lower number than the present one, one that holds no more, and one by another root
    key are refused.
    """
    handed = _read(file)
    register, installation = _register(context)
    before = register.trust()
    made = _checked(handed, installation)
    if before is not None:
        present = _checked(before, installation)
        if before.root != handed.root and not new_root:
            complain(
                "another root key has signed it than the present list",
                "no client would believe it: enroll all anew, and say --new-root",
            )
            raise typer.Exit(ExitCode.FAILED)
        if before.root == handed.root and made.number <= present.number:
            complain(
                f"list {made.number} is not above the present one, {present.number}",
                "clients go by the highest number that they have seen: sign it with a higher one",
            )
            raise typer.Exit(ExitCode.FAILED)
    record = record_of_list(made.number, made.not_after, actor_of(), rfc3339(time()))
    if not register.hand_out(handed, made.number, record):
        complain("somebody else was faster", "kmworker trust show, then again")
        raise typer.Exit(ExitCode.FAILED)
    line(f"list {made.number} is handed out, until {made.not_after}")


def show(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """Show which list is handed out, and the installation's id, which lists are signed for."""
    register, installation = _register(context)
    trust = register.trust()
    fields: dict[str, Any] = {"installation": installation}
    if trust is not None:
        made = _checked(trust, installation, is_now=False)
        fields |= {
            "root": trust.root,
            "number": made.number,
            "not_before": made.not_before,
            "not_after": made.not_after,
            "sign": sorted(made.sign),
            "seal": sorted(made.seal),
        }
    if as_json:
        print_json(fields)
        return
    said = ((name.replace("_", " "), _said(it)) for name, it in fields.items())
    display(grid(said))
    if trust is None:
        note("no list is handed out yet: kmworker trust sign, then kmworker trust publish")


def _said(what: object) -> str:
    return ", ".join(map(str, what)) if isinstance(what, list) else str(what)


def _register(context: typer.Context) -> tuple[ClientRegister, str]:
    settings = settings_of(context)
    views = views_of(settings)
    custody = custody_of(settings.keyring)
    found = enter(custody, views)
    return ClientRegister(views, RecordCodec(custody)), found.layout.installation


def _checked(handed: HandedOut, installation: str, *, is_now: bool = True) -> TrustList:
    try:
        made = handed.checked(installation)
        if is_now:
            newest(None, made, time())
    except Untrusted as wrong:
        raise SetupError(str(wrong), wrong.hint) from None
    return made


def _read(file: str) -> HandedOut:
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        fields = json.loads(content)
        return HandedOut(*(str(fields[name]) for name in ("root", "text", "signature")))
    except OSError as error:
        raise SetupError(f"{file}: {error.strerror}", "name what trust sign has printed") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SetupError(
            f"{file}: no signed list", "take what kmworker trust sign has printed"
        ) from None
