"""Which accounts each command needs: the shipped ones, as `config/*/README.md` describes them.

A command's help names them, and so does whatever a server refuses to somebody else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

__all__ = ["NEEDED", "Accounts", "named_in_help", "needed_by", "user_in"]


@dataclass(frozen=True, slots=True)
class Accounts:
    """Who someone has to be to each server; empty where that is not asked for anything."""

    store: str = ""
    broker: str = ""


# Two words are a command of a group, or a command with an option that asks for more.
NEEDED: Final[Mapping[str, Accounts]] = {
    "worker": Accounts("worker", "worker"),
    "up": Accounts(),
    "demo": Accounts(),
    "publish": Accounts(broker="producer"),
    # Of a type that no producer's account may publish.
    "publish --no-check": Accounts(broker="operator"),
    "watch": Accounts(broker="operator"),
    "announce": Accounts("dashboard", "operator"),
    "status": Accounts("dashboard", "operator"),
    "show": Accounts("dashboard"),
    "list projects": Accounts("dashboard"),
    "list items": Accounts("dashboard"),
    "list keys": Accounts("dashboard"),
    "explain": Accounts("worker"),
    "dead list": Accounts(broker="operator"),
    "dead show": Accounts(broker="operator"),
    "dead replay": Accounts(broker="operator"),
    "dead discard": Accounts(broker="operator"),
    "waiting list": Accounts("dashboard"),
    "waiting expire": Accounts("operator", "operator"),
    "client init": Accounts(),
    "client pin": Accounts(),
    "client get": Accounts(broker="client"),
    "client enroll": Accounts("key-operator"),
    "client renew": Accounts("key-operator"),
    "client revoke": Accounts("key-operator"),
    "client list": Accounts("dashboard"),
    "client show": Accounts("dashboard"),
    "keyserver": Accounts("keyserver", "keyserver"),
    "trust init": Accounts(),
    "trust key": Accounts(),
    "trust sign": Accounts(),
    "trust publish": Accounts("key-operator"),
    "trust show": Accounts("dashboard"),
    "janitor": Accounts("janitor"),
    "auditor": Accounts(broker="auditor"),
    "audit tail": Accounts(),
    "audit export": Accounts(broker="recorder"),
    "audit verify": Accounts(),
    "key show": Accounts("dashboard"),
    "key list": Accounts("dashboard"),
    "key suspend": Accounts("key-operator"),
    "key resume": Accounts("key-operator"),
    "key restore": Accounts("key-operator"),
    "key compromise": Accounts("key-operator"),
    "key destroy": Accounts("key-operator"),
    "key destroy --now": Accounts("janitor"),
    "key export": Accounts("key-operator", "recorder"),
    "reconcile": Accounts("key-operator", "recorder"),
    "verify": Accounts("key-operator"),
    "verify --repair": Accounts("repairer", "recorder"),
    "accept": Accounts("worker", "worker"),
    "doctor": Accounts("worker", "worker"),
    "health": Accounts("worker"),
    "migrate": Accounts("migrator", "recorder"),
    "keyring init": Accounts(),
    "keyring move": Accounts(broker="recorder"),
    "keyring add": Accounts("key-operator"),
    "keyring activate": Accounts("key-operator"),
    "keyring status": Accounts("dashboard"),
    "keyring compromise": Accounts("key-operator"),
    "keyring retire": Accounts("key-operator"),
    "keyring remove": Accounts("key-operator"),
    "keyring restore": Accounts(broker="recorder"),
    "rewrap": Accounts("rewrapper", "recorder"),
    "schemas": Accounts(),
}


def needed_by(command: str, parameters: Mapping[str, Any]) -> tuple[str, Accounts]:
    """Return a command as it was called, as far as that matters here, and what it needs.

    Args:
        command: its words, without the program's name.
        parameters: its options, by their names in Python.
    """
    for name in parameters:
        option = f"{command} --{name.replace('_', '-')}"
        if parameters[name] and option in NEEDED:
            return option, NEEDED[option]
    return command, NEEDED.get(command, Accounts())


def named_in_help(command: str) -> str:
    """Return what the help of a command says of accounts."""
    lines = [f"  {server}: {_named(command, server)}" for server in ("store", "broker")]
    return "\n".join(["\b", "Accounts:", *lines])


def _named(command: str, server: str) -> str:
    account = getattr(NEEDED.get(command, Accounts()), server)
    others = [
        f"with {option}: {other}"
        for name in NEEDED
        if (option := name.partition(f"{command} ")[2]).startswith("--")
        if (other := getattr(NEEDED[name], server)) != account
    ]
    return f"{account or 'none'}{''.join(f' ({other})' for other in others)}"


def user_in(url: str | None) -> str:
    """Return whom a URL names; empty for nobody."""
    return unquote(urlsplit(url or "").username or "")
