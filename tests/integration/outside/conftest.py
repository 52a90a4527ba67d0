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

from .client import connected
from .worker import Site, Worker, working


class Server(Protocol):
    """A running broker or store."""

    @property
    def url(self) -> str: ...


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
) -> Iterator[NewSite]:
    """Found an installation of the test's own, with a keyring and no worker yet."""
    sites: list[Site] = []

    def found(deadline_s: int = 600, **settings: str) -> Site:
        site = Site(
            tmp_path, rabbitmq.url, redis_server.url, namespace, prefix, deadline_s, settings
        )
        sites.append(site)
        site.run("keyring", "init")
        return site

    yield found
    for site in sites:
        _clear(site)


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
    site = Site(folder, rabbitmq.url, redis_server.url, name, name, deadline_s)
    site.run("keyring", "init")
    try:
        with working(site) as workers:
            yield Running(site, workers)
    finally:
        _clear(site)


def _clear(site: Site) -> None:
    with connected(site.broker_url, site.namespace) as client:
        client.remove_topology()
    site.reader.forget()
