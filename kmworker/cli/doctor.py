"""``kmworker doctor``: everything a worker needs, looked at and left as it was.

A check that stands on one that failed is passed over and says so: one cause, one failure.
"""

import platform
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from time import time
from typing import Annotated, Final

import typer

from kmworker.bootstrap import read_policy
from kmworker.bus.inspection import Inspection
from kmworker.bus.link import Link
from kmworker.bus.topology import Topology
from kmworker.cli.access import settings_of, vault_of, views_of
from kmworker.cli.liveness import STUCK_AFTER_S, Verdict, is_running, judge
from kmworker.cli.output import columns, display, plural, print_json
from kmworker.cli.program import Ending, examples, group
from kmworker.crypto import Keyring
from kmworker.errors import KMWorkerError, NotFound, SetupError, StoreUnavailable
from kmworker.redis_client import connect_to
from kmworker.settings import STREAM_SCHEMES, Settings, redacted_url
from kmworker.store.admission import check_values_in, refuse_other_keyring
from kmworker.store.connection import refuse_volatile
from kmworker.store.history import INCIDENT, NUMBER
from kmworker.store.names import Names
from kmworker.store.views import Views
from kmworker.store.views_status import read_workers

__all__ = ["app"]

OLDEST_STORE: Final = 7
SKEW_MAX_S: Final = 2.0
OK, FAILED, PASSED_OVER = "ok", "failed", "not checked"
COLUMN: Final = 13
OF_STORE: Final = ("durability", "history", "workers", "records", "clock")
EVERYTHING_ELSE: Final = (
    "keyring", "policy", "broker", "queues", "permissions", "store", *OF_STORE,
)  # fmt: skip
app = group()


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check has found."""

    check: str
    status: str
    detail: str
    hint: str = ""


@app.command(epilog=examples("kmworker doctor", "kmworker doctor --json"))
def doctor(
    context: typer.Context,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check broker, store, keyring and policy, and change nothing.

    Looks at what a worker with this configuration needs, one line each, with what to do about
    whatever is wrong. The exit code is 1 if anything is.
    """
    findings = list(_findings(context))
    healthy = all(finding.status != FAILED for finding in findings)
    if as_json:
        print_json({"ok": healthy, "checks": [asdict(finding) for finding in findings]})
    else:
        _print(findings)
    raise typer.Exit(Ending.DONE if healthy else Ending.FAILED)


def _print(findings: Sequence[Finding]) -> None:
    rows: list[tuple[str, str, str]] = []
    for found in findings:
        status = found.status.upper() if found.status == FAILED else found.status
        rows.append((status, found.check, found.detail))
        if found.hint:
            rows.append(("", "", f"hint: {found.hint}"))
    display(columns(rows, width=COLUMN))


def _findings(context: typer.Context) -> Iterator[Finding]:
    try:
        settings = settings_of(context)
    except SetupError as error:
        yield Finding("configuration", FAILED, str(error), error.hint)
        yield from _passed_over("the configuration", *EVERYTHING_ELSE)
        return
    where = settings.config_path or "the environment and defaults"
    yield Finding("configuration", OK, f"from {where}")
    keyring = _checked("keyring", lambda: _keyring(settings))
    yield keyring
    yield _checked("policy", lambda: _policy(settings))
    yield from _broker(settings)
    yield from _store(settings, has_keyring=keyring.status == OK)


def _checked(check: str, look: Callable[[], str]) -> Finding:
    """Make a look into a finding: what it returns is good, what it raises is not."""
    try:
        return Finding(check, OK, look())
    except (SetupError, NotFound) as error:
        return Finding(check, FAILED, str(error), error.hint)
    except KMWorkerError as error:
        return Finding(check, FAILED, str(error), "is it running, and are URL and user right?")


def _passed_over(because_of: str, *checks: str) -> Iterator[Finding]:
    for check in checks:
        yield Finding(check, PASSED_OVER, f"it needs {because_of}")


def _keyring(settings: Settings) -> str:
    path = settings.keyring.path
    keyring = Keyring.load(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    return f"{path}, mode {mode:04o}, {plural(len(keyring.keks), 'KEK')}, active {keyring.active}"


def _policy(settings: Settings) -> str:
    policy = read_policy(settings)
    rules, ciphers = plural(len(policy.rule), "rule"), plural(len(policy.cipher), "cipher")
    return f"{settings.policy.path or 'the shipped one'}, {rules}, {ciphers}"


# --- the broker ---------------------------------------------------------------------


def _broker(settings: Settings) -> Iterator[Finding]:
    url = settings.broker.url
    if url is not None and url.partition(":")[0] in STREAM_SCHEMES:
        yield _checked("broker", lambda: _streams(settings, url))
        return
    with ExitStack() as stack:
        inspections: list[Inspection] = []
        broker = _checked("broker", lambda: _inspected(settings, inspections, stack))
        yield broker
        if broker.status == FAILED:
            yield from _passed_over("the broker", "queues", "permissions")
            return
        (inspection,) = inspections
        queues = _checked("queues", lambda: _queues(inspection, settings))
        yield queues
        if queues.status == FAILED:
            yield from _passed_over("the queues", "permissions")
            return
        yield _checked("permissions", lambda: _permissions(inspection))


def _inspected(settings: Settings, inspections: list[Inspection], stack: ExitStack) -> str:
    link = Link(settings.broker, "kmworker doctor")
    link.open()
    stack.callback(link.close)
    inspection = Inspection(link, Topology(settings.broker.namespace))
    inspections.append(inspection)
    return f"{inspection.server()} at {redacted_url(settings.broker.url or '')}"


def _streams(settings: Settings, url: str) -> str:
    client = connect_to(url, settings.broker.connect_timeout_s)
    server = Views(client, Names(settings.store.prefix)).server()
    return f"streams in {server.name} {server.version} at {redacted_url(url)}"


def _queues(inspection: Inspection, settings: Settings) -> str:
    missing = inspection.missing_names()
    if missing:
        raise SetupError(f"missing: {', '.join(missing)}", "a worker declares them: start one")
    others = inspection.other_queues()
    if others:
        hint = "delete them, or choose another broker.namespace"
        raise SetupError(f"no durable quorum queues: {', '.join(others)}", hint)
    return f"all of {settings.broker.namespace}.* is there"


def _permissions(inspection: Inspection) -> str:
    missing = list(inspection.missing_rights())
    if missing:
        hint = "grant them with rabbitmqctl set_permissions; see config/rabbitmq/"
        raise SetupError(f"this user may not {' nor '.join(missing)}", hint)
    if inspection.may_anchor():
        return "this user may consume and publish"
    # A worker does without, and says so.
    return "this user may consume and publish; no anchor is kept (see config/rabbitmq/)"


# --- the store ----------------------------------------------------------------------


def _store(settings: Settings, *, has_keyring: bool) -> Iterator[Finding]:
    try:
        views = views_of(settings)
    except SetupError as error:
        yield Finding("store", FAILED, str(error), error.hint)
        yield from _passed_over("the store", *OF_STORE)
        return
    store = _checked("store", lambda: _server(settings, views))
    yield store
    if store.status == FAILED:
        yield from _passed_over("the store", *OF_STORE)
        return
    yield _checked("durability", lambda: _durability(settings, views))
    yield _checked("history", lambda: _history(views))
    yield _checked("workers", lambda: _workers(views))
    if has_keyring:
        yield _checked("records", lambda: _records(settings, views))
    else:
        yield from _passed_over("the keyring", "records")
    yield _clock(views)


def _server(settings: Settings, views: Views) -> str:
    name, version = views.server()
    major = version.partition(".")[0]
    if name == "Redis" and major.isdigit() and int(major) < OLDEST_STORE:
        hint = f"use Redis {OLDEST_STORE} or newer, or Valkey"
        raise SetupError(f"Redis {version} is too old", hint)
    return f"{name} {version} at {redacted_url(settings.store.url or '')}"


def _durability(settings: Settings, views: Views) -> str:
    try:
        refuse_volatile(views.client)
    except SetupError as error:
        if not settings.store.allow_volatile:
            raise
        return f"allowed by store.allow_volatile: {error}"
    return "what is acknowledged is on disk, and no key is evicted"


def _history(views: Views) -> str:
    incident = views.field("commits", INCIDENT)
    if incident is not None:
        hint = f"restore the newest copy, or go on without what it lost: kmworker accept {incident}"
        raise SetupError(f"incident {incident}: the store went back in time", hint)
    number = views.field("commits", NUMBER) or "no"
    return f"{number} commits, none seen to be lost"


def _workers(views: Views) -> str:
    now, here, well = time(), platform.node(), 0
    for worker in read_workers(views, now):
        # Whether one on another host has died is not to be seen from here.
        if is_running(worker.pid) if worker.host == here else worker.is_live:
            verdict, detail = judge(worker, now, STUCK_AFTER_S)
            if verdict is Verdict.STUCK:
                hint = "look into its log and restart it: its events come again"
                raise SetupError(f"{worker.worker_id} is stuck: {detail}", hint)
            well += verdict.is_well
    return f"{plural(well, 'worker')} making progress or idle"


def _records(settings: Settings, views: Views) -> str:
    """Compare keyring and store as a worker does, without entering the keyring there."""
    key, found = views.names.top("keyring"), views.keyring()
    if not found:
        if views.has_projects():
            hint = "restore that hash from a backup of the store"
            raise SetupError(f"the store has records, but {key} is missing", hint)
        return "none yet: the first worker enters its keyring"
    vault = vault_of(settings.keyring)
    ours = vault.check_values(found.get("source", settings.broker.source))
    refuse_other_keyring(check_values_in(found), ours, key)
    return "of this keyring"


def _clock(views: Views) -> Finding:
    try:
        before = time()
        theirs = views.clock_s()
        skew_s = theirs - (before + time()) / 2
    except StoreUnavailable as error:
        # A worker does without, and so may its user.
        return Finding("clock", PASSED_OVER, str(error))
    detail = f"{abs(skew_s):.1f} s {'ahead of' if skew_s > 0 else 'behind'} this host's"
    if abs(skew_s) <= SKEW_MAX_S:
        return Finding("clock", OK, f"the store's is {detail}")
    hint = "synchronise both hosts (NTP): deadlines and signs of life are compared by clock"
    return Finding("clock", FAILED, f"the store's is {detail}", hint)
