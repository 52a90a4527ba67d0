"""What most tests of one worker begin with."""

import pytest

from tests.kit.simulator.installation import Installation, Process


@pytest.fixture
def site() -> Installation:
    """An installation with the default limits."""
    return Installation()


@pytest.fixture
def process(site: Installation) -> Process:
    """A worker process of it that has done nothing yet."""
    return site.process()
