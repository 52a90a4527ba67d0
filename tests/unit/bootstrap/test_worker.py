"""How many events a worker has at hand: four batches, and no more than a quorum queue gives."""

import pytest

from kmworker.bootstrap.worker import prefetch_for


@pytest.mark.parametrize(
    ("batch_max", "prefetch"), [(1, 4), (256, 1024), (500, 2000), (1000, 2000)]
)
def test_four_batches_are_prefetched_as_far_as_quorum_queues_allow(
    batch_max: int, prefetch: int
) -> None:
    assert prefetch_for(batch_max) == prefetch
