"""The events in docs/producing.md come to what stands beside them."""

import json

from kmworker.domain.event import Event
from kmworker.domain.explain import explain_events
from kmworker.wire.events.reading import parse
from tests.kit.builders import SHIPPED
from tests.kit.cases import documented

VOLUME = {
    "specversion": "1.0",
    "id": "0",
    "source": "/cinder",
    "type": "volume-created",
    "data": {"project_id": "p1", "volume_id": "v1"},
}


def test_copies_that_hold_ciphertext_come_to_what_the_document_says() -> None:
    events = []
    for document in (VOLUME, *documented()):
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
