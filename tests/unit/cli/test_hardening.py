"""Every command that loads secret keys has closed its process before."""

from pathlib import Path
from typing import Never

import pytest

from kmworker.cli.app import KMWorker
from kmworker.crypto import Keyring
from kmworker.delegation.identity import Identity
from kmworker.embedded.supervisor import Supervisor
from tests.kit.cli.fixtures import HARDENING
from tests.kit.cli.stand import Broker, FilledStore, family, run

# None: it has no use for them, or they are in another process of its own.
LOADING: dict[str, tuple[str, ...] | None] = {
    "worker": ("worker",),
    "up": ("up",),
    "demo": ("demo",),
    "publish": None,
    "watch": None,
    "announce": ("announce", "--project", "p1"),
    "status": None,
    "show": ("show", "volume:v1"),
    "explain": ("explain", "volume-created", "--project", "p1", "--set", "volume_id=v9"),
    "dead": None,
    "waiting": None,
    "list": None,
    "janitor": ("janitor",),
    "reconcile": None,
    # It has a key of its own, and no use for KEKs.
    "auditor": None,
    # Its own process loads them; see below.
    "client": ("client", "list"),
    "keyserver": ("keyserver",),
    "trust": ("trust", "show"),
    "audit": None,
    "key": ("key", "export", "KEY-ID", "--project", "p1", "--output", "dek"),
    "verify": ("verify",),
    "doctor": ("doctor",),
    "health": None,
    "accept": ("accept", "incident"),
    "migrate": ("migrate", "--yes"),
    "keyring": ("keyring", "status"),
    "rewrap": ("rewrap",),
    "schemas": None,
}


def test_every_command_is_listed_here() -> None:
    assert LOADING.keys() == KMWorker.purposes.keys()


@pytest.fixture
def order(store: FilledStore, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens first: the process is closed, or its keys come into it."""
    store.assign(*family())
    happened: list[str] = []
    for place in HARDENING:
        monkeypatch.setattr(f"kmworker.{place}.harden_process", lambda: happened.append("closed"))

    def keys(_path: Path, _more: object = None) -> Never:
        happened.append("keys")
        raise KeyboardInterrupt

    monkeypatch.setattr(Keyring, "load", keys)
    monkeypatch.setattr(Keyring, "generate", keys)
    monkeypatch.setattr(Identity, "load", keys)
    monkeypatch.setattr(Supervisor, "start", lambda it: it._make_keyring(Path("keyring.json")))
    monkeypatch.setattr(Supervisor, "stop", lambda _it: None)
    return happened


@pytest.mark.parametrize("command", [it for it in LOADING.values() if it is not None], ids=" ".join)
def test_a_command_that_loads_keys_has_closed_its_process(
    order: list[str], command: tuple[str, ...]
) -> None:
    run(*command)
    assert order[:2] == ["closed", "keys"]


def test_a_keyring_is_made_in_a_closed_process(order: list[str]) -> None:
    run("keyring", "init")
    assert order == ["closed", "keys"]


@pytest.mark.parametrize("command", [name for name, it in LOADING.items() if it is None])
def test_the_others_load_none(order: list[str], command: str) -> None:
    run(command)
    assert "keys" not in order
