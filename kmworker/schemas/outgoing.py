"""What the worker sends, for its readers: the worker itself writes these and never parses them.

Tests hold `announcement.py` and `dead_letters.py` to these models. They are made for what
one version sends; readers should ignore fields that they do not know, as the schemas do.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from kmworker.errors import Reason
from kmworker.events.wire import ItemId, ProjectId
from kmworker.model import DataAction, Kind

__all__ = ["DeadLetterHeaders", "KeyAssigned"]

Uuid = Annotated[str, Field(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
# Always UTC; to how many digits is no promise.
Moment = Annotated[
    str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z$")
]
Text = Annotated[str, Field(min_length=1, max_length=255)]
HeaderText = Annotated[str, Field(max_length=255)]


class _Sent(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", use_attribute_docstrings=True)


class AssignedItem(_Sent):
    """The item that uses the key-id."""

    kind: Literal["volume", "snapshot", "replica", "partition"]
    """What it is."""
    id: ItemId
    """Its id within its project and kind."""


class AssignedSource(_Sent):
    """What the item was derived from."""

    kind: Kind
    """What the source is; an `image` has no key here."""
    id: ItemId
    """The source's id within its project and kind."""
    project_id: ProjectId
    """The source's project."""


class AssignedEncryption(_Sent):
    """How the item's data is encrypted."""

    cipher: Annotated[str, Field(pattern=r"^[!-~]{1,128}$")]
    """As dm-crypt writes it, e.g. `aes-xts-plain64`."""
    key_bits: Annotated[int, Field(ge=8)]
    """The DEK's length."""


class AssignedCause(_Sent):
    """The event that led to the assignment."""

    id: Text
    """The event's `id`."""
    source: Text
    """The event's `source`."""
    type: Text
    """The event's `type`."""


class AssignedData(_Sent):
    """The assignment; the same data, byte for byte, whenever it is announced."""

    item: AssignedItem
    project_id: ProjectId
    """The item's project."""
    key_id: Uuid
    """The public name under which the item's DEK is retrieved."""
    scope_id: Uuid
    """The key scope: all items whose data is encrypted under the same DEK."""
    disposition: Literal["create", "clone", "reuse"]
    """How the item came by its key-id: new scope, same DEK under a fresh key-id, same key-id."""
    source: AssignedSource | None
    """What the item was derived from; null: it started blank."""
    node: Text | None
    """The host that will hold it, for replicas."""
    encryption: AssignedEncryption
    data_action: DataAction
    """What the storage must do with the data it copies into the item.

    `none`: nothing, the ciphertext fits, or the item is blank. `reencrypt`: from the key
    `reencrypt_from` to this one. `encrypt`: the source was not encrypted.
    """
    reencrypt_from: Uuid | None
    """The source's key-id where `data_action` is `reencrypt`, else null."""
    rule: Text
    """The policy rule that decided, or `guard:<name>`."""
    cause: AssignedCause
    assigned_at: Moment
    """When the assignment was made, in RFC 3339, UTC."""


class KeyAssigned(_Sent):
    """An item uses a key-id, and this is durably recorded.

    Sent at least once, always with the same id and bytes: drop repeats by `id`. Items that
    are not encrypted are not announced. An assignment may arrive before its source's.
    """

    specversion: Literal["1.0"]
    """The version of CloudEvents."""
    id: Uuid
    """The same for every announcement of an assignment; also the AMQP `message_id`."""
    source: Text
    """The setting `broker.source`."""
    type: Literal["key-assigned"]
    """What happened; also the AMQP property `type`."""
    subject: Annotated[str, Field(min_length=1)]
    """The item's project, a slash, and its item ref (`kind:id`)."""
    time: Moment
    """The same as `data.assigned_at`."""
    data: AssignedData


class DeadLetterHeaders(_Sent):
    """Why an event could not be processed, beside the original's own headers.

    Values are cut at 255 bytes and never hold key material or event content beyond ids.
    """

    reason: Annotated[Reason, Field(alias="x-kmworker-reason")]
    """Also the first word of the routing key."""
    detail: Annotated[HeaderText, Field(alias="x-kmworker-detail")]
    """One sentence for a person."""
    event_id: Annotated[HeaderText, Field(alias="x-kmworker-event-id")]
    """The event's `id`; empty where it could not be read."""
    event_type: Annotated[HeaderText, Field(alias="x-kmworker-event-type")]
    """The event's `type`, or `unknown`."""
    routing_key: Annotated[HeaderText, Field(alias="x-kmworker-routing-key")]
    """The original's routing key."""
    dead_at: Annotated[Moment, Field(alias="x-kmworker-dead-at")]
    """When it was given up, in RFC 3339, UTC."""
    attempts: Annotated[int, Field(alias="x-kmworker-attempts", ge=1)]
    """How often it was tried, the last time included."""
