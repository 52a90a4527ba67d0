"""The AsyncAPI document: valid by the official schema, and true of the worker."""

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from kmworker.domain.message import Outgoing
from kmworker.wire.answers.messages import Refusal
from kmworker.wire.events.definition import EVENT_TYPES
from kmworker.wire.requests.definition import REQUEST_TYPES
from kmworker.wire.schemas import asyncapi, texts
from kmworker.wire.schemas.examples import ANNOUNCED, DEAD
from kmworker.wire.topology import Topology
from tests.contract.schemas.official import official_schema
from tests.kit.delegation_vectors import (
    AT,
    CLIENT,
    DELIVERED,
    HOST,
    KEY,
    REQUEST,
    REVOKED,
    REVOKED_ID,
    signer,
)
from tests.kit.published_schemas import complaints, schema_of

DOCUMENT = asyncapi()
NAMES = Topology("kmworker")
MESSAGES = list(DOCUMENT["components"]["messages"])


def official_complaints(document: object) -> list[str]:
    errors = Draft7Validator(official_schema()).iter_errors(document)
    return [f"{error.json_path}: {error.message}" for error in errors]


def pointed_at(document: Any, pointer: str) -> Any:
    for name in pointer.removeprefix("#/").split("/"):
        document = document[name]
    return document


# --- valid ------------------------------------------------------------------------------


def test_the_document_is_valid_by_the_official_schema() -> None:
    assert official_complaints(yaml.safe_load(texts()["asyncapi.yaml"])) == []


SPOILT: dict[str, tuple[str, object]] = {
    "an action that there is not": ("operations/receiveEvents/action", "subscribe"),
    "no version": ("info/version", None),
    "a binding of another version": ("channels/work/bindings/amqp/bindingVersion", "9.9.9"),
    "both exchange and queue": ("channels/work/bindings/amqp/exchange", {"name": "x"}),
    "a binding's field that there is not": ("operations/sendAssignments/bindings/amqp/qos", 1),
    "a delivery mode that there is not": (
        "operations/sendAssignments/bindings/amqp/deliveryMode", 3,
    ),
    "a payload that is no schema": (
        "components/schemas/volume-created/properties/id/type", "text",
    ),
    "a location that is none": (
        "components/messages/key-assigned/correlationId/location", "data.cause.id",
    ),
    "a field of its own": ("channels/work/queue", "work"),
    "a server without a protocol": ("servers/broker", {"host": "localhost"}),
}  # fmt: skip


@pytest.mark.parametrize(("place", "value"), SPOILT.values(), ids=SPOILT)
def test_the_official_schema_would_see_a_mistake(place: str, value: object) -> None:
    document = copy.deepcopy(DOCUMENT)
    where, _, name = place.rpartition("/")
    pointed_at(document, where)[name] = value
    assert official_complaints(document)


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from ([value["$ref"]] if "$ref" in value else [])
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_reference_leads_somewhere() -> None:
    found = set(references(DOCUMENT))
    assert all(isinstance(pointed_at(DOCUMENT, pointer), dict) for pointer in found)
    # And everything that can be referred to is.
    for kind, parts in DOCUMENT["components"].items():
        assert {f"#/components/{kind}/{name}" for name in parts} <= found


def test_an_operation_has_the_messages_of_its_channel() -> None:
    for operation in DOCUMENT["operations"].values():
        channel = operation["channel"]["$ref"]
        expected = [
            f"{channel}/messages/{name}" for name in pointed_at(DOCUMENT, channel)["messages"]
        ]
        assert [message["$ref"] for message in operation["messages"]] == expected


def test_a_channel_has_the_parameters_of_its_address() -> None:
    for channel in DOCUMENT["channels"].values():
        assert (
            set(re.findall(r"{(\w+)}", channel["address"])) == channel.get("parameters", {}).keys()
        )


@pytest.mark.parametrize(
    "message", [*EVENT_TYPES, *REQUEST_TYPES, "key-assigned", "key-released", "key-delivered"]
)
def test_a_payload_is_the_schema_of_the_file(message: str) -> None:
    payload = pointed_at(DOCUMENT, DOCUMENT["components"]["messages"][message]["payload"]["$ref"])
    of_a_file = {"$schema", "$id", "examples"}
    assert payload == {k: v for k, v in schema_of(message).items() if k not in of_a_file}


@pytest.mark.parametrize("message", MESSAGES)
def test_an_example_is_valid_and_its_correlation_is_found(message: str) -> None:
    described = DOCUMENT["components"]["messages"][message]
    for example in described["examples"]:
        for part in ("headers", "payload"):
            if "$ref" in described.get(part, {}):
                schema = pointed_at(DOCUMENT, described[part]["$ref"])
                assert complaints(schema, example[part]) == []
        assert re.fullmatch("[0-9a-f-]{36}", at(described["correlationId"]["location"], example))


def at(location: str, example: dict[str, Any]) -> Any:
    """What a location (a runtime expression) finds in an example."""
    part, _, pointer = location.removeprefix("$message.").partition("#/")
    return pointed_at(example[{"header": "headers"}.get(part, part)], pointer)


# --- and true ---------------------------------------------------------------------------


def test_the_names_are_the_brokers() -> None:
    bindings = {name: it["bindings"]["amqp"] for name, it in DOCUMENT["channels"].items()}
    exchanges = {name: it["exchange"] for name, it in bindings.items() if "exchange" in it}
    assert {name: it["name"] for name, it in exchanges.items()} == {
        "events": NAMES.events,
        "assignments": NAMES.assignments,
        "keys": NAMES.keys,
        "dead": NAMES.dead,
        "requests": NAMES.requests,
        "audit": NAMES.audit,
    }
    kinds = {name: (it["type"], it["durable"], it["autoDelete"]) for name, it in exchanges.items()}
    assert kinds.pop("requests") == ("direct", True, False)
    assert set(kinds.values()) == {("topic", True, False)}
    assert DOCUMENT["channels"]["answers"]["address"] == "kmworker.clients.{client}/{place}"
    assert bindings["work"]["queue"] == {"name": NAMES.work, "durable": True, "autoDelete": False}
    assert DOCUMENT["channels"]["work"]["address"] == NAMES.work


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_a_producers_routing_key_is_the_events_type(event_type: str) -> None:
    [example] = DOCUMENT["components"]["messages"][event_type]["examples"]
    assert address_of("events", example) == event_type


@pytest.mark.parametrize("request_type", REQUEST_TYPES)
def test_a_clients_routing_key_is_the_requests_type(request_type: str) -> None:
    [example] = DOCUMENT["components"]["messages"][request_type]["examples"]
    assert address_of("requests", example) == request_type


def test_the_routing_keys_are_the_workers() -> None:
    messages = DOCUMENT["components"]["messages"]
    [assigned], [dead] = messages["key-assigned"]["examples"], messages["dead-letter"]["examples"]
    assert address_of("dead", dead) == DEAD.routing_key
    assert address_of("assignments", assigned) == ANNOUNCED.routing_key


def address_of(channel: str, example: dict[str, Any]) -> str:
    """A channel's address, with its parameters from where they are said to be in a message."""
    described = DOCUMENT["channels"][channel]
    values = {
        name: at(parameter["location"], example)
        for name, parameter in described["parameters"].items()
    }
    for name, value in values.items():
        assert value in described["parameters"][name].get("enum", [value])
    address: str = described["address"]
    return address.format(**values)


@pytest.mark.parametrize(
    ("operation", "message"), [("sendAssignments", ANNOUNCED), ("sendDeadLetters", DEAD)], ids=str
)
def test_messages_are_persistent_and_mandatory(operation: str, message: Outgoing) -> None:
    binding = DOCUMENT["operations"][operation]["bindings"]["amqp"]
    assert binding["deliveryMode"] == message.properties["delivery_mode"]
    assert binding["mandatory"] is True


def test_an_assignments_properties_are_the_workers() -> None:
    described = DOCUMENT["components"]["messages"]["key-assigned"]
    assert described["contentType"] == ANNOUNCED.properties["content_type"]
    assert described["bindings"]["amqp"]["messageType"] == ANNOUNCED.properties["type"]


# What there is of each between clients and key servers, and where it is said otherwise.
SENT = {
    "key-requested": REQUEST.properties(CLIENT),
    "key-delivered": signer()
    .deliver(REQUEST.asked, CLIENT, HOST.public, DELIVERED, KEY, at=AT)
    .properties,
    "key-refused": signer().refuse(REQUEST.asked, CLIENT, Refusal.NOT_GRANTED, at=AT).properties,
    "key-revoked": signer().revoke(REVOKED_ID, CLIENT, REVOKED, at=AT).properties,
}


@pytest.mark.parametrize("message", SENT)
def test_the_properties_of_what_is_signed_are_all_named_and_no_others(message: str) -> None:
    described = DOCUMENT["components"]["messages"][message]
    properties = SENT[message]
    names = ("user_id", "reply_to", "correlation_id", "message_id", "type", "content_type",
             "app_id", "delivery_mode", "expiration")  # fmt: skip
    # What is said to be absent is named behind "no".
    said = {it for it in names if re.search(f"(?<!no )`{it}`", described["description"])}
    assert said == properties.keys() - {"application_headers"}
    headers = pointed_at(DOCUMENT, described["headers"]["$ref"])
    assert complaints(headers, properties["application_headers"]) == []
    assert complaints(headers, {}) != []
    assert described["bindings"]["amqp"]["messageType"] == properties["type"]
    assert f"{int(properties.get('expiration', 0)):,} ms" in described["description"] + "0 ms"


# --- as YAML ----------------------------------------------------------------------------


def test_the_file_is_the_document_to_readers_of_yaml_and_of_json() -> None:
    for read in (yaml.safe_load, json.loads):
        # Also in its order, which one reads it in.
        assert json.dumps(read(texts()["asyncapi.yaml"])) == json.dumps(DOCUMENT)
