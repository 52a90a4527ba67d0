"""``kmworker explain``: the policy's answer before anything has happened."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any, Final

import typer
from rich.table import Table

from kmworker.bootstrap import open_store, read_policy
from kmworker.cli.access import settings_of
from kmworker.cli.composing import Draft, Words, drafts_of, event_types
from kmworker.cli.explaining import (
    GUARDS,
    Assumption,
    Explanation,
    assume,
    explain_events,
    items_to_look_up,
)
from kmworker.cli.output import column_table, complain, display, grid, line, note, print_json
from kmworker.cli.program import Ending, examples, group, misused
from kmworker.events import Event, Unreadable
from kmworker.model import Encryption, Item, KeyState, State
from kmworker.policy import ANY, Policy, Rule

__all__ = ["app"]

UNENCRYPTED: Final = "none"
app = group()


class SourceState(StrEnum):
    """What a source may be assumed to be."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    COMPROMISED = "compromised"
    DESTROYED = "destroyed"
    ABSENT = "absent"


@app.command(
    epilog=examples(
        "kmworker explain",
        "kmworker explain --file event.json",
        "kmworker explain volume-created --project p1 --set volume_id=v2 \\",
        "    --set source.kind=snapshot --set source.id=s1 \\",
        "    --source-encryption aes-ctr-plain64/256",
    )
)
def explain(  # noqa: PLR0913  # its options
    context: typer.Context,
    event_type: Annotated[
        str | None,
        typer.Argument(
            metavar="TYPE",
            help="volume-created, snapshot-taken, …",
            autocompletion=event_types,
        ),
    ] = None,
    *,
    project: Annotated[
        str | None, typer.Option("--project", metavar="P", help="The item's project.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=VALUE", help="A field of data, as in publish."),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file", metavar="FILE", help="Events, as in publish; explained in their order."
        ),
    ] = None,
    source_encryption: Annotated[
        str | None,
        typer.Option(
            "--source-encryption",
            metavar="CIPHER/BITS",
            help="Assume this of the source; none: not encrypted.",
        ),
    ] = None,
    source_state: Annotated[
        SourceState | None, typer.Option(help="Assume this of the source, or of its key.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what the policy would decide for an event, and why.

    By which rule or guard, and how many bytes are copied and encrypted anew. Item and source
    are looked up in the store, unless one is assumed or no store is configured. Without an
    event it prints the policy. Nothing is published or written.
    """
    configured = settings_of(context)
    policy = read_policy(configured)
    words = Words(event_type, project, settings or ())
    if file is None and not any(words):
        _print_policy(policy, as_json=as_json)
        return
    events = _events(drafts_of(words, file))
    if source_encryption is None and source_state is None and configured.store.url is not None:
        known: Mapping[Item, State] = open_store(configured, "explain").store.look_up(
            items_to_look_up(events)
        )
    else:
        known = _assumed(events, policy, source_encryption, source_state)
    explanations = list(explain_events(events, known, policy))
    if as_json:
        print_json([_json(explanation) for explanation in explanations])
        return
    for explanation in explanations:
        display(grid(_lines(explanation)))


def _events(drafts: Sequence[Draft]) -> list[Event]:
    events = []
    for draft in drafts:
        read = draft.read()
        if isinstance(read, Unreadable):
            complain(f"{draft.where}: {read.reason}: {read.detail}", "it would be a dead letter")
            raise typer.Exit(Ending.FAILED)
        events.append(read)
    return events


def _assumed(
    events: Sequence[Event], policy: Policy, encryption: str | None, state: SourceState | None
) -> Mapping[Item, State]:
    """Assume the sources that these events do not bring along themselves."""
    if encryption is None and state is None:
        note("no store is configured: assuming that sources exist, encrypted as is the default")
    if state is SourceState.ABSENT:
        return {}
    key_state = KeyState.ACTIVE if state is None else KeyState(state.value)
    given = None if encryption is None else _encryption(encryption, policy)

    def assumption(source: Item) -> Assumption:
        default = policy.default_for(source.kind.value, None)
        return Assumption(default if encryption is None else given, key_state)

    sources = items_to_look_up(events) - {event.item for event in events}
    return {source: assume(source, assumption(source)) for source in sources}


def _encryption(text: str, policy: Policy) -> Encryption | None:
    if text == UNENCRYPTED:
        return None
    cipher, _slash, bits = text.rpartition("/")
    if not cipher or not bits.isdecimal():
        listed = policy.listed(text)
        if listed is None:
            misused(f"--source-encryption {text}: not like aes-xts-plain64/512")
        return Encryption(text, listed.key_bits[0])
    return Encryption(cipher, int(bits))


def _json(explanation: Explanation) -> dict[str, Any]:
    encryption = explanation.encryption
    return {
        **asdict(explanation),
        "encryption": None if encryption is None else encryption._asdict(),
    }


def _lines(explanation: Explanation) -> Iterator[tuple[str, str]]:
    yield "item", f"{explanation.item} of project {explanation.project}"
    yield "decision", explanation.decision
    if explanation.by is not None:
        yield "by", explanation.by
    yield "why", explanation.why
    if explanation.encryption is not None:
        cipher, key_bits = explanation.encryption
        yield "encryption", f"{cipher}, {key_bits} bits"
    if explanation.data_action is not None:
        yield "data action", explanation.data_action
        yield "copied", _bytes(explanation.copied_bytes)
        yield "re-encrypted", _bytes(explanation.reencrypted_bytes)


def _bytes(number: int | None) -> str:
    return "all of it; the event has no size_bytes" if number is None else f"{number:,} bytes"


# --- the policy itself --------------------------------------------------------------


def _print_policy(policy: Policy, *, as_json: bool) -> None:
    if as_json:
        print_json({**policy.model_dump(mode="json"), "guard": dict(GUARDS)})
        return
    for title, table in _policy_tables(policy):
        line(f"{title}:")
        display(table)
        line("")


def _policy_tables(policy: Policy) -> Iterator[tuple[str, Table]]:
    yield "guards, which stand above the rules", grid(GUARDS.items())
    yield (
        "rules, of which the first that matches decides",
        column_table(("rule", "then", "wish", "for"), map(_rule, policy.rule)),
    )
    yield (
        "ciphers, the default key size first",
        column_table(
            ("cipher", "key bits", "iv"),
            ((it.name, " ".join(map(str, it.key_bits)), it.iv.value) for it in policy.cipher),
        ),
    )
    defaults = (
        (" ".join(it.kind), " ".join(it.volume_type), it.cipher, str(it.key_bits or ""))
        for it in policy.default_encryption
    )
    yield (
        "default encryptions, of which the first that matches is taken",
        column_table(("kind", "volume type", "cipher", "key bits"), defaults),
    )


def _rule(rule: Rule) -> tuple[str, ...]:
    conditions = [
        f", {name} {' '.join(globs)}"
        for name in ("project", "volume_type", "cipher", "transport")
        if (globs := getattr(rule, name)) != ANY
    ]
    return (
        rule.name,
        rule.then.value,
        "heard" if rule.honour_wish else "",
        f"{' '.join(rule.event)}, source {' '.join(rule.source)}{''.join(conditions)}",
    )
