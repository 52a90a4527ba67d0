"""`make trace` leads a newcomer to where the stages are."""

import re
from pathlib import Path

import kmworker
from tests.kit.simulator.trace import STAGES, trace

ROOT = Path(kmworker.__file__).parents[1]


def test_one_event_passes_every_stage_in_order_each_where_the_trace_says() -> None:
    calls = trace()
    assert [call.code.co_qualname for call in calls if not call.depth] == [
        stage.__qualname__ for stage in STAGES
    ]
    for call in calls:
        path, _, line = call.where.partition(":")
        source = (ROOT / path).read_text().splitlines()[int(line) - 1]
        assert re.fullmatch(rf" *def {call.code.co_name}\(.*", source)
