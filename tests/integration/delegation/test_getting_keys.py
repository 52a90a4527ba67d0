"""A volume is attached to a node, and the node gets its key; nobody else does, nor it later."""

from collections.abc import Iterator

import pytest

from tests.integration.cli.test_events import volume
from tests.kit.outside.delegating import Delegation, P, attached, delegating, detached
from tests.kit.outside.worker import Site
from tests.kit.polling import until


@pytest.fixture
def made(site: Site) -> Iterator[Delegation]:
    with delegating(site) as made:
        yield made


def test_the_node_that_a_volume_is_attached_to_gets_its_key(made: Delegation) -> None:
    made.tell(volume("v1", P), attached("v1"))
    until(lambda: made.attachments("v1"), "it is attached")
    key = made.get("v1")
    assert key == made.exported("v1")
    assert len(key) == 64
    made.tell(detached("v1"))
    until(lambda: "over" in made.attachments("v1")["a1"], "it is detached")
    made.get("v1", exit_code=1)
