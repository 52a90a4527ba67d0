"""What every test can ask for: servers, and names that no other test uses.

Servers start when the first test asks for them, so pure tests never wait for one. The
shared ones serve the whole run; a test that stops, kills or reconfigures a server takes
one for itself from a `start_…` fixture.
"""

import gc
import os
import secrets
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings

from tests.kit.servers import (
    MissingServerError,
    RabbitMQ,
    Server,
    Start,
    StoreServer,
    embedded_store,
    redis_store,
    valkey_store,
)
from tests.kit.servers.openbao import OpenBao

# Timing belongs to the machine, not to the property under test: no deadlines.
settings.register_profile("default", deadline=None, print_blob=True)
# A build must not fail by luck: what CI tries is the same each time.
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
# While one works: the same properties, fewer draws (pytest --hypothesis-profile=quick).
settings.register_profile("quick", deadline=None, print_blob=True, max_examples=20)
settings.load_profile("ci" if os.environ.get("CI") else "default")

# A shell that runs the tests in the background has Ctrl-C ignored, and that is inherited: the
# programs under test could then not be interrupted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

S = TypeVar("S", bound=Server)

SHARED: list[Server] = []
"""Those that run for all tests."""


def pytest_collection_finish() -> None:
    """Take what was imported and collected for good: it is not looked through for garbage again."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many runs the simulator made, from which seed they were drawn, and if any failed."""
    reports = [
        it for outcome in ("passed", "failed") for it in terminalreporter.getreports(outcome)
    ]
    told = [found for report in reports for found in getattr(report, "user_properties", ())]
    runs = sum(number for name, number in told if name == "simulated runs")
    seeds = sorted({str(seed) for name, seed in told if name == "simulation seed"})
    if runs:
        drawn = f", samples drawn from seed {' '.join(seeds)}" if seeds else ""
        terminalreporter.write_line(f"simulated runs: {runs:,}{drawn}")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    """Redis, with the shipped settings, shared by the whole run."""
    with _shared(lambda: redis_store(_new(tmp_path_factory))) as it:
        yield it


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    """Valkey, with the shipped settings, shared by the whole run."""
    with _shared(lambda: valkey_store(_new(tmp_path_factory))) as it:
        yield it


@pytest.fixture(scope="session")
def embedded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    """Valkey as `kmworker up` has it, without accounts, for streams; shared by the whole run."""
    with _shared(lambda: embedded_store(_new(tmp_path_factory))) as it:
        yield it


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """RabbitMQ, with the shipped settings, shared by the whole run."""
    with _shared(lambda: RabbitMQ(_new(tmp_path_factory))) as it:
        yield it


@pytest.fixture(scope="session")
def roomy_rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """One that serves others, too, whose messages are larger than kmworker's."""
    options = {"max_message_size": "134217728"}
    with _shared(lambda: RabbitMQ(_new(tmp_path_factory), options)) as it:
        yield it


@pytest.fixture(scope="session")
def shared_openbao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """OpenBao, set up as docs/roots.md says, for those who leave it as it is."""
    with _running(lambda: OpenBao(_new(tmp_path_factory))) as it:
        yield it


@pytest.fixture
def openbao(shared_openbao: OpenBao) -> Iterator[OpenBao]:
    """OpenBao, which a test may seal, stop or change the secret-id of."""
    secret_id = shared_openbao.secret_id_path.read_text()
    yield shared_openbao
    if not shared_openbao.running:
        shared_openbao.start()
    shared_openbao.unseal()
    shared_openbao.write_secret_id(secret_id)


@pytest.fixture
def start_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start[StoreServer]]:
    """Start a Redis for this test alone; options are lines of `redis.conf`."""
    with _starting(redis_store, tmp_path_factory) as start:
        yield start


@pytest.fixture
def start_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start[StoreServer]]:
    """Start a Valkey for this test alone; options are lines of `valkey.conf`."""
    with _starting(valkey_store, tmp_path_factory) as start:
        yield start


@pytest.fixture
def start_rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start[RabbitMQ]]:
    """Start a RabbitMQ for this test alone; options are lines of `rabbitmq.conf`."""
    with _starting(RabbitMQ, tmp_path_factory) as start:
        yield start


@pytest.fixture
def namespace() -> Iterator[str]:
    """Name the queues and exchanges of this test, in place of the setting's `kmworker`."""
    with _names() as it:
        yield it


@pytest.fixture
def prefix() -> Iterator[str]:
    """Name the keys of this test, in place of the setting's `km`."""
    with _names() as it:
        yield it


def _new(factory: pytest.TempPathFactory) -> Path:
    return factory.mktemp("server")


@contextmanager
def _names() -> Iterator[str]:
    """Make up names; the shared servers forget in the end what has come to bear them."""
    names = f"t{secrets.token_hex(4)}"
    yield names
    for server in SHARED:
        server.forget(names)


@contextmanager
def _shared(prepare: Callable[[], S]) -> Iterator[S]:
    with _running(prepare) as server:
        SHARED.append(server)
        yield server
        SHARED.remove(server)


@contextmanager
def _running(prepare: Callable[[], S]) -> Iterator[S]:
    try:
        server = prepare()
    except MissingServerError as error:
        # Once and in one line: the same error from every test would bury it.
        pytest.exit(str(error), returncode=1)
    with closing(server):
        server.start()
        yield server


@contextmanager
def _starting(
    prepare: Callable[[Path, Mapping[str, str] | None], S], factory: pytest.TempPathFactory
) -> Iterator[Start[S]]:
    with ExitStack() as stack:

        def start(options: Mapping[str, str] | None = None) -> S:
            return stack.enter_context(_running(lambda: prepare(_new(factory), options)))

        yield start
