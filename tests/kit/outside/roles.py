"""Which accounts a command is run with, as the tables in `config/*/README.md` have it."""

from collections.abc import Sequence
from typing import Final, NamedTuple


class Roles(NamedTuple):
    """Who someone is to the store, and who to the broker; None: the command is not told of it."""

    store: str | None
    broker: str | None


WORKER: Final = Roles("worker", "worker")
DASHBOARD: Final = Roles("dashboard", None)
NOBODY: Final = Roles(None, None)

# The longest beginning decides.
COMMANDS: Final = {
    # Run where workers run, with their settings.
    "worker": WORKER,
    "janitor": Roles("janitor", None),
    "doctor": WORKER,
    "accept": WORKER,
    "health": Roles("worker", None),
    "explain": Roles("worker", None),
    # By whoever looks.
    "status": Roles("dashboard", "operator"),
    "show": DASHBOARD,
    "list": DASHBOARD,
    "waiting": DASHBOARD,
    "waiting expire": Roles("operator", "operator"),
    "watch": Roles(None, "operator"),
    "dead": Roles(None, "operator"),
    "announce": Roles("dashboard", "operator"),
    "key": Roles("key-operator", None),
    "key show": DASHBOARD,
    "key list": DASHBOARD,
    "key destroy --now": Roles("janitor", None),
    "key export": Roles("key-operator", "recorder"),
    "keyring": Roles("key-operator", None),
    "keyring status": DASHBOARD,
    "reconcile": Roles("key-operator", "recorder"),
    "rewrap": Roles("rewrapper", "recorder"),
    "verify": Roles("key-operator", None),
    "verify --repair": Roles("repairer", "recorder"),
    "migrate": Roles("migrator", "recorder"),
    "auditor": Roles(None, "auditor"),
    "keyserver": Roles("keyserver", "keyserver"),
    "client": Roles("key-operator", None),
    "client list": DASHBOARD,
    "client show": DASHBOARD,
    "client get": Roles(None, "client"),
    "client init": NOBODY,
    "client pin": NOBODY,
    "trust": Roles("key-operator", None),
    "trust show": DASHBOARD,
    "trust init": NOBODY,
    "trust key": NOBODY,
    "trust sign": NOBODY,
    # By whoever may read its files; no server is asked.
    "audit": NOBODY,
    "audit export": Roles(None, "recorder"),
    # By whoever has something to say.
    "publish": Roles(None, "producer"),
    # A producer may say only what is of a known type; an operator says anything again.
    "publish --no-check": Roles(None, "operator"),
    # By whoever wants to; no server is asked.
    "keyring init": NOBODY,
    "keyring move": Roles(None, "recorder"),
    "keyring restore": Roles(None, "recorder"),
    "schemas": NOBODY,
    "up": NOBODY,
    "demo": NOBODY,
}


def roles_for(arguments: Sequence[str]) -> Roles:
    """Return the accounts for a command line; for one of no command, those of a worker."""
    name = " ".join(arguments[:1])
    found = COMMANDS.get(name, WORKER)
    for words, roles in COMMANDS.items():
        command, *rest = words.split()
        if rest and command == name and set(rest) <= set(arguments[1:]):
            found = roles
    return found
