"""``kmworker explain``: the policy's answer before anything has happened."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any, Final

import typer
from rich.table import Table

from kmworker.bootstrap.worker import open_store, read_policy
from kmworker.cli.arguments.events import ProjectOption, TypeArgument, Words, drafts_of, read_all
from kmworker.cli.arguments.options import JsonOption
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.exits import ExitCode, misused
from kmworker.cli.frame.program import examples, group
from kmworker.cli.terminal.output import (
    column_table,
    display,
    grid,
    line,
    note,
    print_json,
)
from kmworker.crypto.hardening import harden_process
from kmworker.domain.event import Happening
from kmworker.domain.explain import (
    GUARDS,
    Assumption,
    Explanation,
    assume,
    explain_events,
    items_to_look_up,
)
from kmworker.domain.model import Encryption, Item, KeyState, State
from kmworker.domain.policy import Policy, Refused, Rule
from kmworker.domain.policy_tables import ANY
from kmworker.domain.replication import ReplicaCost, replica_cost
from kmworker.errors import NotFound
from kmworker.files.replication import measured_replication
from kmworker.settings import Settings
from kmworker.store.admission import enter
from kmworker.store.inspection import Views

__all__ = ["app"]

UNENCRYPTED: Final = "none"
LEFT_OPEN: Final = "a volume type that no default encryption names is not encrypted"
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
    event_type: TypeArgument = None,
    *,
    project: ProjectOption = None,
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
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="U", help="Assume that this user of the broker sends it."),
    ] = None,
    as_json: JsonOption = False,
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
    events, unreadable = read_all(drafts_of(words, file), "it would be a dead letter")
    if unreadable and not events:
        raise typer.Exit(ExitCode.FAILED)
    if source_encryption is None and source_state is None and configured.store.url is not None:
        known = _known(configured, events)
    else:
        known = _assumed(events, policy, source_encryption, source_state)
    if policy.producer and user is None:
        note("assuming a producer that may send it: --user asks for one")
    explanations = list(explain_events(events, known, policy, user))
    if as_json:
        print_json([_json(explanation, policy) for explanation in explanations])
    else:
        for explanation in explanations:
            display(grid(_lines(explanation, policy)))
    if unreadable:
        raise typer.Exit(ExitCode.FAILED)


def _known(settings: Settings, events: Sequence[Happening]) -> Mapping[Item, State]:
    """Look up what the store knows of items and sources."""
    harden_process()
    parts = open_store(settings, "explain")
    try:
        enter(parts.custody, Views(parts.client, parts.names))
    except NotFound:
        # Before the first worker it knows nothing.
        return {}
    return parts.store.look_up(items_to_look_up(events)).result()


def _assumed(
    events: Sequence[Happening], policy: Policy, encryption: str | None, state: SourceState | None
) -> Mapping[Item, State]:
    """Assume the sources that these events do not bring along themselves."""
    if encryption is None and state is None:
        note("no store is configured: assuming that sources exist, encrypted as is the default")
    if state is SourceState.ABSENT:
        return {}
    key_state = KeyState.ACTIVE if state is None else KeyState(state.value)
    given = None if encryption is None else _encryption(encryption, policy)

    def assumption(source: Item) -> Assumption:
        return Assumption(given if encryption else _default(source, policy), key_state)

    sources = items_to_look_up(events) - {event.item for event in events}
    return {source: assume(source, assumption(source)) for source in sources}


def _default(source: Item, policy: Policy) -> Encryption | None:
    default = policy.default_for(source.kind.value, None)
    if isinstance(default, Refused):
        # Some event has named one, then; the policy lists its first choice first.
        first = policy.cipher[0]
        return Encryption(first.name, first.key_bits[0])
    return default


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


def _json(explanation: Explanation, policy: Policy) -> dict[str, Any]:
    encryption = explanation.encryption
    cost = replica_cost(explanation, policy, measured_replication())
    return {
        **asdict(explanation),
        "replication": None if cost is None else asdict(cost),
        "encryption": None if encryption is None else encryption._asdict(),
    }


def _lines(explanation: Explanation, policy: Policy) -> Iterator[tuple[str, str]]:
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
    cost = replica_cost(explanation, policy, measured_replication())
    if cost is not None:
        yield "by rsync", _moved(cost)


def _moved(cost: ReplicaCost) -> str:
    inserted = "" if cost.inserted_bytes is None else f" ({cost.inserted_bytes:,} bytes)"
    some = (
        "all of it" if cost.overwritten_bytes is None else f"about {cost.overwritten_bytes:,} bytes"
    )
    return (
        f"{cost.unchanged:.0%} of what is unchanged each time, beside checksums; {some} where 4 KiB"
        f" are overwritten; {min(cost.inserted, 1):.0%}{inserted} where they are inserted at a"
        f" quarter (docs/replication.md: {cost.way})"
    )


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
    if policy.leaves_unencrypted:
        note(LEFT_OPEN)


def _policy_tables(policy: Policy) -> Iterator[tuple[str, Table]]:
    yield "guards, which stand above the rules", grid(GUARDS.items())
    yield (
        "rules, of which the first that matches decides",
        column_table(("rule", "then", "requested", "for"), map(_rule, policy.rule)),
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
    if policy.producer:
        yield "producers, beside whom nobody is heard", _producers(policy)
    yield (
        "unencrypted copies of encrypted data",
        grid([("decrypted_copies", policy.decrypted_copies.value)]),
    )


def _producers(policy: Policy) -> Table:
    rows = (
        (it.user, " ".join(it.projects), " ".join(it.types), "may" if it.replay else "")
        for it in policy.producer
    )
    return column_table(("user", "projects", "types", "replay"), rows)


def _rule(rule: Rule) -> tuple[str, ...]:
    conditions = [
        f", {name} {' '.join(globs)}"
        for name in ("project", "volume_type", "cipher", "transport", "disposition")
        if (globs := getattr(rule, name)) != ANY
    ]
    return (
        rule.name,
        rule.then.value,
        "allowed" if rule.allow_requested else "",
        f"{' '.join(rule.event)}, source {' '.join(rule.source)}{''.join(conditions)}",
    )
