"""What ``kmworker doctor`` looks at in the store."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import time
from typing import Final

from kmworker.cli.doctor.checks import FAILED, NOT_CHECKED, OK, WARNED, Check, checked, not_checked
from kmworker.cli.doctor.delegation import OF_DELEGATION, check_delegation
from kmworker.cli.doctor.records import check_records
from kmworker.cli.frame.accounts import user_in
from kmworker.cli.frame.store import now_of, views_of
from kmworker.cli.installation.crowds import crowded
from kmworker.cli.installation.keks import janitor_trouble
from kmworker.cli.installation.overdue import due_in_words, overdue
from kmworker.cli.installation.workers import STUCK_AFTER_S, Verdict, judge, runs_here, troubles_of
from kmworker.cli.terminal.output import ago, plural
from kmworker.errors import KMWorkerError, SetupError, StoreUnavailable
from kmworker.settings import Settings
from kmworker.settings.urls import redacted_url
from kmworker.store.bounds import unbounded
from kmworker.store.commits import read_commits
from kmworker.store.connection import store_errors
from kmworker.store.durability import refuse_volatile
from kmworker.store.inspection import Views
from kmworker.store.made_anew import DELETE_HINT, WrongType, wrong_types
from kmworker.store.rollback import incident_refusal, spoilt_refusal
from kmworker.store.server import greeting_of, refuse_replica
from kmworker.store.trial import try_rights, try_write
from kmworker.store.views.janitor import read_due, read_janitor
from kmworker.store.views.status import UNREADABLE, WorkerSeen, read_crowds, read_workers

__all__ = ["OF_STORE", "check_store"]

OLDEST_STORE: Final = 7
SKEW_MAX_S: Final = 2.0
OF_STORE: Final = (
    "rights", "writes", "durability", "clients", "history", "reports", "workers", "janitor",
    *OF_DELEGATION, "records", "keks", "clock",
)  # fmt: skip

WAKING: Final = 'all else goes on; see docs/operations.md, "When to wake someone"'


def check_store(settings: Settings, *, has_keyring: bool) -> Iterator[Check]:
    """Look at the server, at what this user may do there, and at what workers left in it."""
    try:
        views = views_of(settings)
    except SetupError as error:
        yield Check("store", FAILED, str(error), error.hint)
        yield from not_checked("the store", *OF_STORE)
        return
    user = user_in(settings.store.url) or "default"
    store = checked("store", lambda: _server(settings, views), user)
    yield store
    if store.status == FAILED:
        yield from not_checked("the store", *OF_STORE)
        return
    yield checked("rights", lambda: _rights(settings, views))
    yield checked("writes", lambda: _writes(settings, views))
    yield checked("durability", lambda: _durability(settings, views), user)
    yield _clients(views)
    yield checked("history", lambda: _history(views), user)
    wrong: list[WrongType] = []
    yield checked("reports", lambda: _reports(views, wrong), user)
    spoilt = {it.key for it in wrong}
    if (key := views.names.top("workers")) in spoilt:
        yield from not_checked(key, "workers")
    else:
        yield from _workers(views, user)
    if keys := sorted(spoilt & {views.names.top(it) for it in ("janitor", "totals")}):
        yield from not_checked(" and ".join(keys), "janitor")
    else:
        yield checked("janitor", lambda: _janitor(views), user)
    is_readable = views.names.top("keyservers") not in spoilt
    yield from check_delegation(
        settings, views, user, is_readable=is_readable, has_keyring=has_keyring
    )
    if crowds := _crowds(views):
        yield Check("waiting", OK, f"near its bound: {crowds}")
    if has_keyring:
        yield from check_records(settings, views, user)
    else:
        yield from not_checked("the keyring", "records", "keks")
    yield _clock(views)


def _server(settings: Settings, views: Views) -> str:
    name, version = views.server()
    major = version.partition(".")[0]
    if name == "Redis" and major.isdigit() and int(major) < OLDEST_STORE:
        hint = f"use Redis {OLDEST_STORE} or newer, or Valkey"
        raise SetupError(f"Redis {version} is too old", hint)
    with store_errors():
        refuse_replica(greeting_of(views.client))
    return f"{name} {version} at {redacted_url(settings.store.url or '')}"


def _rights(settings: Settings, views: Views) -> str:
    who = _user(settings.store.url)
    with _as(who, "config/redis/"):
        try_rights(views.client, views.names)
    return f"as {who}: all that a worker runs may run; tried without any work"


def _writes(settings: Settings, views: Views) -> str:
    who = _user(settings.store.url)
    with _as(who, "config/redis/"):
        try_write(views.client, views.names)
    return f"as {who}: a write is taken; tried with one that changes nothing"


def _user(url: str | None) -> str:
    name = user_in(url)
    return f"user {name}" if name else "the default user"


@contextmanager
def _as(who: str, accounts: str) -> Iterator[None]:
    """Have a refusal say to whom, and who may."""
    try:
        yield
    except SetupError as refusal:
        hint = refusal.hint or f"use the account worker, or one with its rights; see {accounts}"
        raise SetupError(f"as {who}: {refusal}", hint) from None


def _durability(settings: Settings, views: Views) -> str:
    if settings.store.durability == "vouched":
        return 'not looked at: store.durability is "vouched", so its operator answers for it'
    try:
        refuse_volatile(views.client, views.names)
    except SetupError as error:
        if not settings.store.allow_volatile:
            raise
        return f"allowed by store.allow_volatile: {error}"
    return "what is acknowledged is on disk, and no key is evicted"


def _clients(views: Views) -> Check:
    try:
        problems = unbounded(views.client)
    except StoreUnavailable as error:
        return Check("clients", FAILED, str(error), "is it running, and are URL and user right?")
    if problems is None:
        return Check("clients", NOT_CHECKED, "this user may not see the server's settings")
    if not problems:
        return Check("clients", OK, "what they leave unread is bounded")
    detail = f"what they leave unread may fill the server: {', '.join(problems)}"
    return Check("clients", WARNED, detail, "include config/redis/kmworker.conf in its settings")


def _history(views: Views) -> str:
    with store_errors():
        found = read_commits(views.client, views.names)
    if found.incident is not None:
        raise incident_refusal(found.incident, "the store was rolled back")
    if found.number is None:
        raise spoilt_refusal(views.names.top("commits"))
    if found.sum < found.number:
        hint = "restore its newest copy; a worker that starts names the incident to accept"
        raise SetupError(f"of {found.number} commits it has {found.sum}: records are lost", hint)
    return f"{found.sum or 'no'} commits, none seen to be lost"


def _reports(views: Views, wrong: list[WrongType]) -> str:
    wrong += wrong_types(views.client, views.names)
    if wrong:
        raise SetupError("; ".join(map(str, wrong)), DELETE_HINT)
    return "what workers write for others to read can be read"


def _workers(views: Views, user: str) -> Iterator[Check]:
    workers: list[WorkerSeen] = []
    found = checked("workers", lambda: _alive(views, workers), user)
    troubles = troubles_of(workers) if found.status == OK else []
    if troubles:
        found = Check("workers", WARNED, "; ".join([found.detail, *troubles]), WAKING)
    yield found


def _alive(views: Views, workers: list[WorkerSeen]) -> str:
    now, well = now_of(views), 0
    workers += read_workers(views, now)
    for worker in workers:
        running = runs_here(worker)
        if worker.is_live if running is None else running:
            if worker.state == UNREADABLE:
                raise SetupError(worker.last_error, DELETE_HINT)
            verdict, detail = judge(worker, now, STUCK_AFTER_S)
            if verdict is Verdict.STUCK:
                hint = "look into its log and restart it: its events come again"
                raise SetupError(f"{worker.worker_id} is stuck: {detail}", hint)
            well += verdict.is_well
    return f"{plural(well, 'worker')} making progress or idle"


def _janitor(views: Views) -> str | tuple[str, str]:
    due, seen, now = read_due(views), read_janitor(views), now_of(views)
    # No failure: workers go on, and keys are kept longer than they were to be.
    if (found := overdue(due, seen, now)) is not None:
        return found
    if seen is not None and (trouble := janitor_trouble(seen)):
        return trouble, WAKING
    who = "none was seen" if seen is None else f"seen {ago(seen.seen_at, now)}"
    return f"{who}; key-ids due: {due_in_words(due, now)}"


def _crowds(views: Views) -> str:
    # No failure: what is one too many is a dead letter, and everybody else goes on.
    try:
        return crowded(read_crowds(views))
    except KMWorkerError:
        return ""


def _clock(views: Views) -> Check:
    try:
        before = time()
        theirs = views.clock_s()
        skew_s = theirs - (before + time()) / 2
    except StoreUnavailable as error:
        # A worker does without, and so may its user.
        return Check("clock", NOT_CHECKED, str(error))
    detail = f"{abs(skew_s):.1f} s {'ahead of' if skew_s > 0 else 'behind'} this host's"
    if abs(skew_s) <= SKEW_MAX_S:
        return Check("clock", OK, f"the store's is {detail}")
    hint = "synchronise both hosts (NTP): deadlines and signs of life are compared by clock"
    return Check("clock", FAILED, f"the store's is {detail}", hint)
