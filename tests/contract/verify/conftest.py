"""A store with everything in it that workers leave behind."""

import pytest

from tests.contract.verify.damages import Scene
from tests.kit.store.filling import fill
from tests.kit.store.stand import Stand


@pytest.fixture
def scene(stand: Stand) -> Scene:
    fill(stand)
    return Scene(stand)
