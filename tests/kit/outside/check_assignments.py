"""What was announced, held against what had to be.

Key-ids and scope-ids are random to a client, so they are compared by who brought
them into the world: items with the same owner must share an id, and items with
different owners must not.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from jsonschema import FormatChecker
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for

from tests.kit.checker.rules import wrong_fields
from tests.kit.outside.heard import Delivery
from tests.kit.outside.oracle import Expected, Outlook
from tests.kit.outside.words import Item

HERE: Final = Path(__file__).parent
GENERATED: Final = HERE.parents[2] / "schemas" / "key-assigned.v1.json"

Data = dict[str, Any]


@cache
def validators() -> tuple[Validator, ...]:
    """Our own reading of the contract, and the product's own schema."""
    paths = (HERE / "schemas" / "key-assigned.v1.json", GENERATED)
    return tuple(validator_of(json.loads(path.read_text())) for path in paths)


def validator_of(schema: dict[str, Any]) -> Validator:
    of_its_draft = validator_for(schema)
    of_its_draft.check_schema(schema)
    return of_its_draft(schema, format_checker=FormatChecker())


def missing(outlook: Outlook, announced: Mapping[str, Sequence[Delivery]]) -> Iterator[str]:
    for item in outlook.assigned:
        if item.subject not in announced:
            yield f"{item.subject} was not announced"


def assignment_problems(
    outlook: Outlook, announced: Mapping[str, Sequence[Delivery]]
) -> Iterator[str]:
    """Everything that is wrong with the announcements."""
    yield from missing(outlook, announced)
    yield from schema_problems(announced)
    expected = {item.subject: it for item, it in outlook.assigned.items()}
    found: dict[Item, Data] = {}
    for subject, deliveries in announced.items():
        if subject not in expected:
            yield f"{subject} must not be announced"
            continue
        yield from repeat_problems(subject, deliveries)
        yield from delivery_problems(deliveries[0], expected[subject])
        found[expected[subject].item] = deliveries[0].parsed()["data"]
    yield from _owner_problems(outlook, found, "key_id")
    yield from _owner_problems(outlook, found, "scope_id")
    yield from _reencryption_problems(outlook, found)


def schema_problems(announced: Mapping[str, Sequence[Delivery]]) -> Iterator[str]:
    """What the schemas have against the announcements, of which one in each form is looked at.

    Each value is compared with what it has to be, below; these take a hundred times as long.
    """
    one_in_each_form = {_form(it[0].parsed()): it[0] for it in announced.values()}
    for delivery in one_in_each_form.values():
        event = delivery.parsed()
        for validator in validators():
            for error in validator.iter_errors(event):
                yield f"{event.get('subject')}: {error.json_path}: {error.message}"


def _form(value: object) -> object:
    """Return which fields are there, and of what type each value is."""
    if isinstance(value, dict):
        return tuple((name, _form(it)) for name, it in value.items())
    return type(value)


def repeat_problems(subject: str, deliveries: Sequence[Delivery]) -> Iterator[str]:
    if any(not delivery.same_as(deliveries[0]) for delivery in deliveries[1:]):
        yield f"{subject} was announced in different words"


def delivery_problems(delivery: Delivery, expected: Expected) -> Iterator[str]:
    """What is wrong with one announcement, by itself."""
    subject = expected.item.subject
    event = delivery.parsed()
    yield from wrong_fields(subject, event, _envelope(expected, event))
    yield from wrong_fields(subject, event["data"], told(expected))
    found = {"routing_key": delivery.routing_key, **vars(delivery.properties)}
    yield from wrong_fields(subject, found, _transport(expected, event))
    yield from source_problems(expected, event["data"])


def told(expected: Expected) -> Data:
    """The fields of `data` that the contract leaves no freedom in."""
    encryption = expected.encryption
    return {
        "item": {"kind": expected.item.kind, "id": expected.item.id},
        "project_id": expected.item.project,
        "disposition": expected.disposition,
        "source": _origin(expected.source),
        "node": expected.node,
        "encryption": encryption
        and {
            "cipher": encryption.cipher,
            "key_bits": encryption.key_bits,
        },
        "data_action": expected.data_action,
    }


def source_problems(expected: Expected, data: Data) -> Iterator[str]:
    """What is wrong with the account of how it came about: the rule and the cause."""
    subject, rule, cause = expected.item.subject, data["rule"], data["cause"]
    if expected.guard is not None and rule != f"guard:{expected.guard}":
        yield f"{subject}: rule is {rule}, not guard:{expected.guard}"
    if expected.guard is None and rule.startswith("guard:") and not _may_be_guarded(expected):
        yield f"{subject}: decided by {rule}, but no guard applies"
    if (cause["id"], cause["source"], cause["type"]) not in expected.causes:
        yield f"{subject}: its cause {cause} is none of its events"


def _may_be_guarded(expected: Expected) -> bool:
    """Whether the contract leaves open what decided: it has no guard by these names."""
    from_image = expected.source is not None and expected.source.kind == "image"
    return from_image or expected.disposition == "none"


def _envelope(expected: Expected, event: Data) -> Data:
    return {
        "type": "key-assigned",
        "source": "/kmworker",
        "subject": expected.item.subject,
        "time": event["data"]["assigned_at"],
    }


def _transport(expected: Expected, event: Data) -> Data:
    item = expected.item
    return {
        "routing_key": f"key-assigned.{item.kind}.{item.project}",
        "message_id": event["id"],
        "type": "key-assigned",
        "app_id": "kmworker",
        "content_type": "application/cloudevents+json",
        "delivery_mode": 2,
    }


def _origin(source: Item | None) -> Data | None:
    if source is None:
        return None
    return {"kind": source.kind, "id": source.id, "project_id": source.project}


def _owner_problems(outlook: Outlook, found: Mapping[Item, Data], name: str) -> Iterator[str]:
    id_of: dict[Item, str] = {}
    owner_of: dict[str, Item] = {}
    for item, data in found.items():
        it = outlook.assigned[item]
        owner = it.key_owner if name == "key_id" else it.scope_owner
        if owner is None:
            # Not encrypted; the schema wants nulls of such an item, and of no other.
            continue
        if id_of.setdefault(owner, data[name]) != data[name]:
            yield f"{item.subject}: its {name} is not that of {owner.subject}"
        elif owner_of.setdefault(data[name], owner) != owner:
            yield f"{item.subject}: its {name} is that of {owner_of[data[name]].subject}, too"


def _reencryption_problems(outlook: Outlook, found: Mapping[Item, Data]) -> Iterator[str]:
    for item, data in found.items():
        source = outlook.assigned[item].reencrypt_from
        if source is not None and source not in found:
            # That is a problem already, and there is nothing to compare with.
            continue
        wanted = found[source]["key_id"] if source is not None else None
        if data["reencrypt_from"] != wanted:
            yield f"{item.subject}: reencrypt_from is {data['reencrypt_from']}, not {wanted}"
