"""The events in docs/producing.md come to what stands beside them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kmworker.domain.event import Event
from kmworker.domain.explain import explain_events
from kmworker.wire.events.reading import parse
from tests.kit.builders import SHIPPED
from tests.kit.published_schemas import is_valid

DOCUMENT = Path(__file__).parents[3] / "docs" / "producing.md"
VOLUME = {
    "specversion": "1.0",
    "id": "0",
    "source": "/cinder",
    "type": "volume-created",
    "data": {"project_id": "p1", "volume_id": "v1"},
}


def documents() -> Iterator[dict[str, Any]]:
    text = DOCUMENT.read_text("utf-8")
    decoder = json.JSONDecoder()
    for block in text.split("```json\n")[1:]:
        rest = block.partition("\n```")[0].lstrip()
        while rest:
            document, end = decoder.raw_decode(rest)
            yield document
            rest = rest[end:].lstrip()


def test_copies_that_hold_ciphertext_come_to_what_the_document_says() -> None:
    events = []
    for document in (VOLUME, *documents()):
        assert is_valid(document["type"], document)
        event = parse(json.dumps(document).encode(), None, document["type"])
        assert isinstance(event, Event), event
        events.append(event)
    found = [
        (it.item, it.decision, it.data_action, it.by) for it in explain_events(events, {}, SHIPPED)
    ]
    assert found[1:] == [
        ("replica:glance:6f3a", "clone", "none", "stored-copies-get-a-clone"),
        ("volume:v2", "clone", "none", "derived-volumes-get-a-clone"),
        ("replica:v1@oslo", "create", "reencrypt", "reencrypted-replicas-get-a-key"),
        ("replica:v1@bergen", "reuse", "none", "replicas-share-the-key-id"),
        ("snapshot:v1@oslo@monday", "reuse", "none", "snapshots-share-the-key-id"),
        ("volume:v1-promoted", "clone", "none", "derived-volumes-get-a-clone"),
    ]
