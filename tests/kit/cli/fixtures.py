"""A working directory, an environment and logs of each test's own."""

import logging
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import structlog
import typer.main

from kmworker import settings
from tests.kit.builders import SHIPPED_POLICY
from tests.kit.cli.stand import Broker, FilledStore, Trail, family

HARDENING = (
    "crypto.hardening", "cli.accept", "cli.auditor", "cli.client.getting", "cli.client.hosting",
    "cli.demo.collection", "cli.explain", "cli.frame.keys", "cli.janitor",
    "cli.keyring.archiving", "cli.keyring.making", "cli.keyserver", "cli.trust.keeping", "cli.up",
)  # fmt: skip
"""The modules that close their process by a name of their own."""
PROGRAM_OF = cache(typer.main.get_command)
"""Makes the program once; typer's runner would for each command anew."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder on a machine where nothing is configured."""
    for name in list(os.environ):
        if name.startswith("KMWORKER_"):
            monkeypatch.delenv(name)
    for name in ("HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setattr(settings, "SEARCHED", (tmp_path / "kmworker.toml",))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("typer.testing._get_command", PROGRAM_OF)
    # It would last for all tests to come.
    for place in HARDENING:
        monkeypatch.setattr(f"kmworker.{place}.harden_process", lambda: None)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield tmp_path
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> FilledStore:
    """A store in memory and its keyring, both configured."""
    return _configured(FilledStore(folder / "keyring.json"), monkeypatch)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> FilledStore:
    """What `filled` is a copy of: filling costs more than most commands."""
    made = FilledStore(tmp_path_factory.mktemp("template") / "keyring.json")
    made.assign(*family())
    return made


@pytest.fixture
def filled(folder: Path, template: FilledStore, monkeypatch: pytest.MonkeyPatch) -> FilledStore:
    """The same with a family in project p1."""
    return _configured(FilledStore(folder / "keyring.json", template), monkeypatch)


def _configured(store: FilledStore, monkeypatch: pytest.MonkeyPatch) -> FilledStore:
    monkeypatch.setenv("KMWORKER_STORE__URL", "redis://127.0.0.1")
    for place in ("kmworker.cli.frame.store.connect", "kmworker.bootstrap.worker.connect"):
        monkeypatch.setattr(place, lambda _settings, _gate=None: store.client)
    return store


@pytest.fixture
def policy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the policy that is configured: as shipped, until a test writes to it."""
    path = folder / "policy.toml"
    path.write_bytes(SHIPPED_POLICY.read_bytes())
    monkeypatch.setenv("KMWORKER_POLICY__PATH", path.name)
    return path


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    """A broker in memory, configured."""
    taking = Broker()
    monkeypatch.setenv("KMWORKER_BROKER__URL", "amqp://127.0.0.1")
    monkeypatch.setattr("kmworker.cli.frame.broker.open_publisher", lambda *_, **__: taking)
    return taking


@pytest.fixture
def trail(monkeypatch: pytest.MonkeyPatch) -> Trail:
    """An audit trail in memory, into which commands record."""
    taking = Trail()
    monkeypatch.setenv("KMWORKER_BROKER__URL", "amqp://127.0.0.1")
    monkeypatch.setenv("KMWORKER_AUDIT__RECORDS", "true")
    monkeypatch.setattr("kmworker.bootstrap.audit.open_audit_trail", lambda *_, **__: taking)
    return taking
