"""``kmworker doctor``: everything a worker needs, looked at and left as it was.

A check that stands on one that failed is skipped and says so: one cause, one failure.
"""

import stat
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Final

import typer

from kmworker.bootstrap.worker import read_policy
from kmworker.cli.arguments.options import JsonOption
from kmworker.cli.doctor.broker import check_broker
from kmworker.cli.doctor.checks import FAILED, OK, Check, checked, not_checked
from kmworker.cli.doctor.store import OF_STORE, check_store
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.exits import ExitCode
from kmworker.cli.frame.keys import keyring_at
from kmworker.cli.frame.program import examples, group
from kmworker.cli.installation.producers import who_is_heard
from kmworker.cli.terminal.output import columns, display, plural, print_json
from kmworker.domain.policy import Policy
from kmworker.errors import SetupError
from kmworker.settings import Settings, plain_text

__all__ = ["app"]

COLUMN: Final = 13
EVERYTHING_ELSE: Final = (
    "keyring", "policy", "producers", "tls", "broker", "queues", "permissions", "policies", "audit",
    "requests", "store", *OF_STORE,
)  # fmt: skip
app = group()


@app.command(epilog=examples("kmworker doctor", "kmworker doctor --json"))
def doctor(
    context: typer.Context,
    *,
    as_json: JsonOption = False,
) -> None:
    """Check broker, store, keyring and policy, and change nothing.

    Looks at what a worker with this configuration needs, one line each, with what to do about
    whatever is wrong. The exit code is 1 if anything is; a warning alone is not.
    """
    checks = list(_checks(context))
    healthy = all(it.status != FAILED for it in checks)
    if as_json:
        print_json({"ok": healthy, "checks": [asdict(it) for it in checks]})
    else:
        _print(checks)
    raise typer.Exit(ExitCode.DONE if healthy else ExitCode.FAILED)


def _print(checks: Sequence[Check]) -> None:
    rows: list[tuple[str, str, str]] = []
    for found in checks:
        status = found.status.upper() if found.status == FAILED else found.status
        rows.append((status, found.check, found.detail))
        if found.hint:
            rows.append(("", "", f"hint: {found.hint}"))
    display(columns(rows, width=COLUMN))


def _checks(context: typer.Context) -> Iterator[Check]:
    try:
        settings = settings_of(context)
    except SetupError as error:
        yield Check("configuration", FAILED, str(error), error.hint)
        yield from not_checked("the configuration", *EVERYTHING_ELSE)
        return
    where = settings.config_path or "the environment and defaults"
    yield Check("configuration", OK, f"from {where}")
    keyring = checked("keyring", lambda: _keyring(settings))
    yield keyring
    yield from _policy(settings)
    yield checked("tls", lambda: _tls(settings))
    yield from check_broker(settings)
    yield from check_store(settings, has_keyring=keyring.status == OK)


def _keyring(settings: Settings) -> str:
    path = settings.keyring.path
    keyring = keyring_at(path, settings.keyring.root)
    mode = stat.S_IMODE(path.stat().st_mode)
    return f"{path}, mode {mode:04o}, {plural(len(keyring.keks), 'KEK')}"


def _policy(settings: Settings) -> Iterator[Check]:
    policies: list[Policy] = []
    yield (found := checked("policy", lambda: _read(settings, policies)))
    if found.status == FAILED:
        yield from not_checked("the policy", "producers")
    else:
        yield checked("producers", lambda: who_is_heard(settings, *policies))


def _read(settings: Settings, policies: list[Policy]) -> tuple[str, str]:
    policy = read_policy(settings)
    policies.append(policy)
    rules, ciphers = plural(len(policy.rule), "rule"), plural(len(policy.cipher), "cipher")
    detail = f"{settings.policy.path or 'the shipped one'}, {rules}, {ciphers}"
    if not policy.leaves_unencrypted:
        return detail, ""
    detail += "; a volume type that no default encryption names is not encrypted"
    return detail, 'let the last default_encryption say cipher = "refuse", or a cipher'


def _tls(settings: Settings) -> tuple[str, str]:
    plain = "; ".join(f"{setting}: {url}" for setting, url in plain_text(settings))
    if not plain:
        return "no password crosses a network in plain text", ""
    hint = "write amqps:// or rediss://, unless something else encrypts all the way"
    return f"passwords cross the network in plain text: {plain}", hint
