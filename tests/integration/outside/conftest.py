"""Installations to test: one for each test that needs its own, two that are shared.

The fixtures `redis_server`, `start_redis`, `rabbitmq`, `namespace` and `prefix` come
from above this folder. A shared installation has a worker that runs until the end; the
tests on it keep apart by their projects.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import pytest

from tests.kit.outside.worker import Site, Worker, working
from tests.kit.servers.accounts import Door


class Server(Door, Protocol):
    """A running broker or store, with the shipped accounts."""

    def forget(self, names: str) -> None:
        """Delete what is there of an installation with these names."""
        ...


@dataclass(frozen=True, slots=True)
class Running:
    """An installation with its worker."""

    site: Site
    workers: list[Worker]


NewSite = Callable[..., Site]
StartStore = Callable[[dict[str, str]], Server]


@pytest.fixture
def new_site(
    redis_server: Server, rabbitmq: Server, namespace: str, prefix: str, tmp_path: Path
) -> NewSite:
    """Found an installation of the test's own, with a keyring and no worker yet."""

    def found(deadline_s: int = 600, **settings: str) -> Site:
        site = Site(tmp_path, rabbitmq, redis_server, namespace, prefix, deadline_s, settings)
        site.lay_keyring()
        return site

    return found


@pytest.fixture(scope="session")
def patient(
    redis_server: Server, rabbitmq: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """A shared installation that waits for a source as long as it takes."""
    with _shared(redis_server, rabbitmq, tmp_path_factory.mktemp("patient"), 600) as running:
        yield running


@pytest.fixture(scope="session")
def hasty(
    redis_server: Server, rabbitmq: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """A shared installation that gives a source two seconds."""
    with _shared(redis_server, rabbitmq, tmp_path_factory.mktemp("hasty"), 2) as running:
        yield running


@pytest.fixture
def project() -> str:
    """A project that no other test knows."""
    return f"p{uuid4().hex[:10]}.x"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the shared workers said last, where a test on them has failed."""
    report = yield
    if report.failed:
        for running in _running(item):
            for worker in running.workers:
                report.sections.append((worker.log.name, worker.tail()))
    return report


def _running(item: pytest.Item) -> list[Running]:
    given = getattr(item, "funcargs", {})
    return [value for value in given.values() if isinstance(value, Running)]


@contextmanager
def _shared(
    redis_server: Server, rabbitmq: Server, folder: Path, deadline_s: int
) -> Iterator[Running]:
    name = f"out{uuid4().hex[:10]}"
    site = Site(folder, rabbitmq, redis_server, name, name, deadline_s)
    site.lay_keyring()
    try:
        with working(site) as workers:
            yield Running(site, workers)
    finally:
        for server in (rabbitmq, redis_server):
            server.forget(name)
