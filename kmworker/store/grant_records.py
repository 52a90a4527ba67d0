"""The fields of the records of grants, one for each item that was ever attached."""

from collections.abc import Mapping
from typing import Any

from kmworker.domain.grants import Attachment, Grant, Grants, Over
from kmworker.domain.model import Cause

__all__ = [
    "attachment_fields", "attachment_in", "grants_fields", "grants_in", "over_fields", "over_in",
]  # fmt: skip


def grants_fields(grants: Grants) -> dict[str, Any]:
    """Return what stands in a record of grants."""
    return {
        "version": grants.version,
        "attachments": [attachment_fields(it) for it in grants.attachments],
    }


def attachment_fields(attachment: Attachment) -> dict[str, Any]:
    """Return what stands in a record of one attachment."""
    fields: dict[str, Any] = {"id": attachment.id}
    grant, over = attachment.grant, attachment.over
    if grant is not None:
        fields["grant"] = {
            "node": grant.node,
            "mode": grant.mode,
            "expires_at": grant.expires_at,
            "generation": grant.generation,
            "by": grant.cause._asdict(),
            "at": grant.at,
        }
    if over is not None:
        fields["over"] = over_fields(over)
    return fields


def over_fields(over: Over) -> dict[str, Any]:
    """Return what stands in a record of an end."""
    return {"by": over.cause._asdict(), "at": over.at}


def over_in(fields: Mapping[str, Any]) -> Over:
    """Return an end from these; raises as `grants_in` does."""
    return Over(Cause(**fields["by"]), fields["at"])


def grants_in(fields: Mapping[str, Any]) -> Grants:
    """Return grants from their record's fields.

    Raises:
        ValueError, KeyError, TypeError: another release wrote it.
    """
    return Grants(fields["version"], tuple(attachment_in(it) for it in fields["attachments"]))


def attachment_in(fields: Mapping[str, Any]) -> Attachment:
    """Return an attachment from these; raises as `grants_in` does."""
    grant, over = fields.get("grant"), fields.get("over")
    return Attachment(
        fields["id"],
        None if grant is None else _grant_in(grant),
        None if over is None else over_in(over),
    )


def _grant_in(fields: Mapping[str, Any]) -> Grant:
    return Grant(
        fields["node"],
        fields["mode"],
        fields["expires_at"],
        fields["generation"],
        Cause(**fields["by"]),
        fields["at"],
    )
