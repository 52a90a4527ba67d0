"""The shipped accounts and settings, switched on as an operator would do it.

Passwords are put into the files of `config/` by the scripts beside them; for another prefix or
namespace the name is replaced everywhere, as the README beside them says. Nobody has a URL for
everybody: a test asks for that of the role which acts, or, by name, for the administrator's.
The administrator is the tests' own user, known to no file that is shipped.
"""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any, Final, Protocol

__all__ = [
    "ADMIN", "ADMIN_USER", "CONFIG", "NAMESPACE", "PREFIX", "At", "Door", "Passwords", "Through",
    "admin_line", "broker_definitions", "default_lines", "filled", "follower_options", "passwords",
    "replica_line", "settings_of", "store_user", "store_users",
]  # fmt: skip

CONFIG: Final = Path(__file__).resolve().parents[3] / "config"
PREFIX, NAMESPACE = "km", "kmworker"
"""The names in the shipped files."""

ADMIN: Final = "admin"
"""The role of whoever damages, looks and repairs from outside; no part of the product."""
ADMIN_USER: Final = "tests-administrator"
REPLICA_USER: Final = "replica"


class Door(Protocol):
    """A server as its clients know it: an address for each role."""

    def url_of(self, role: str, names: str, *, port: int = 0) -> str:
        """Return where an account of the installation with these names finds it.

        Args:
            role: `worker`, `dashboard`, `producer`, …, as in `config/`, or `admin`.
            names: the store's prefix, or the broker's namespace.
            port: of a line in between; 0: the server's own.
        """
        ...


@dataclass(frozen=True, slots=True)
class At:
    """An address that is the same whoever asks: of a server that is away, or has no accounts."""

    url: str

    def url_of(self, role: str, names: str, *, port: int = 0) -> str:
        """Return it."""
        del role, names, port
        return self.url


@dataclass(frozen=True, slots=True)
class Through:
    """A server that is reached by another port, or by one role for whoever acts."""

    door: Door
    port: int = 0
    role: str | None = None

    def url_of(self, role: str, names: str, *, port: int = 0) -> str:
        """Return the server's own answer to that."""
        return self.door.url_of(self.role or role, names, port=port or self.port)


class Passwords:
    """A folder with one file for each account, as the scripts beside the accounts want it."""

    def __init__(self) -> None:
        """Make a password for every account there is, and for our own."""
        self._folder = TemporaryDirectory(prefix="kmworker-secrets-")
        self.folder = Path(self._folder.name)
        self.admin, self.replica = token_hex(16), token_hex(16)
        for server, roles in (("redis", _store_roles()), ("rabbitmq", _broker_roles())):
            for role in roles:
                (self.folder / f"{server}-{role}").write_text(f"{token_hex(16)}\n")

    def of(self, server: str, role: str) -> str:
        """Return an account's password."""
        return self.admin if role == ADMIN else (self.folder / f"{server}-{role}").read_text()[:-1]


@cache
def passwords() -> Passwords:
    """Return those of this run: all its servers have the same."""
    return Passwords()


def filled(server: str, source: str, folder: Path) -> str:
    """Run `with-passwords.sh` on a shipped file."""
    script = [str(CONFIG / server / "with-passwords.sh"), str(folder)]
    with (CONFIG / server / source).open() as file:
        done = subprocess.run(script, stdin=file, capture_output=True, text=True, check=True)
    return done.stdout


# --- the store ----------------------------------------------------------------------


def store_user(role: str, prefix: str) -> str:
    """Return an account's name; on a shared server each installation has its own ones."""
    if role == ADMIN:
        return ADMIN_USER
    return role if prefix == PREFIX else f"{prefix}.{role}"


def store_users(prefix: str) -> list[str]:
    """Return the lines of users.acl for an installation, with passwords, but for `default`'s."""
    lines = [line for line in _users_acl() if line.startswith("user ")]
    named = [line for line in lines if not line.startswith("user default ")]
    return [_renamed(line, prefix) for line in named]


def default_lines() -> list[str]:
    """Return what the shipped file says of `default`."""
    return [line for line in _users_acl() if line.startswith("user default ")]


def admin_line() -> str:
    """Return a line of users.acl for someone who may ask and do what the others may not."""
    return f"user {ADMIN_USER} on #{_hash(passwords().admin)} ~* &* +@all"


def replica_line() -> str:
    """Return a line for whoever follows, as config/redis/README.md says."""
    return f"user {REPLICA_USER} on #{_hash(passwords().replica)} -@all +psync +replconf +ping"


def follower_options() -> Mapping[str, str]:
    """Return how a replica says who it is to its primary."""
    return {"masteruser": REPLICA_USER, "masterauth": passwords().replica}


def _renamed(line: str, prefix: str) -> str:
    _user, role, rest = line.split(" ", 2)
    return f"user {store_user(role, prefix)} {rest.replace(f'~{PREFIX}', f'~{prefix}')}"


@cache
def _users_acl() -> list[str]:
    return filled("redis", "users.acl", passwords().folder).splitlines()


def _store_roles() -> list[str]:
    lines = (CONFIG / "redis" / "users.acl").read_text().splitlines()
    roles = [line.split()[1] for line in lines if line.startswith("user ")]
    return [role for role in roles if role != "default"]


def _hash(password: str) -> str:
    return sha256(password.encode()).hexdigest()


# --- the broker ---------------------------------------------------------------------


def settings_of(path: Path) -> dict[str, str]:
    """Return the settings in a file like rabbitmq.conf."""
    lines = (line.partition("#")[0].partition("=") for line in path.read_text().splitlines())
    return {name.strip(): value.strip() for name, equals, value in lines if equals}


def broker_definitions(namespace: str, *, names: bool = True) -> dict[str, Any]:
    """Return the shipped definitions for a namespace, whose vhost is called like it.

    Without names, they are left to be declared; permissions are there all the same. Our own
    user may do everything there.
    """
    found: dict[str, Any] = json.loads(_definitions().replace(NAMESPACE, namespace))
    if not names:
        found |= {"exchanges": [], "queues": [], "bindings": []}
    admin = {"name": ADMIN_USER, "password": passwords().admin, "tags": ["administrator"]}
    all_of_it = {"configure": ".*", "write": ".*", "read": ".*"}
    found["users"].append(admin)
    found["permissions"].append({"user": ADMIN_USER, "vhost": namespace, **all_of_it})
    return found


@cache
def _definitions() -> str:
    return filled("rabbitmq", "definitions.json", passwords().folder)


def _broker_roles() -> list[str]:
    shipped = json.loads((CONFIG / "rabbitmq" / "definitions.json").read_text())
    return [user["name"] for user in shipped["users"]]
