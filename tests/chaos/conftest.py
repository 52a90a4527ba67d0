"""Servers that these tests may kill, shared by all of them."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.chaos.ground import Servers


@pytest.fixture(scope="session")
def chaos_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Servers of our own, whatever the environment names: nobody else's may be killed."""
    with closing(Servers(tmp_path_factory.mktemp("chaos"))) as servers:
        yield servers
