"""Events that people have published: a schema accepts what the worker takes of them."""

import json

from tests.kit.cases import CASES, documented, lines_of
from tests.kit.published_schemas import is_taken, is_valid


def test_schema_and_worker_agree_about_events_that_people_have_published() -> None:
    events = [json.loads(body) for case in CASES.values() for body in lines_of(case)]
    verdicts = [(is_valid(it["type"], it), is_taken(it["type"], it)) for it in events]
    assert set(verdicts) == {(True, True), (False, False)}


def test_the_schemas_accept_the_events_in_producing_md() -> None:
    assert all(is_valid(event["type"], event) for event in documented())
