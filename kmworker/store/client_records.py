"""The fields of the records of clients, and of the trust list that key servers hand out."""

import base64
from collections.abc import Mapping
from typing import Any

from kmworker.delegation.clients import ClientRecord, Right, Rights, Stamp
from kmworker.delegation.identity import PublicIdentity
from kmworker.domain.keys import Operator
from kmworker.domain.model import Kind

__all__ = ["client_fields", "client_in"]


def client_fields(client: ClientRecord) -> dict[str, Any]:
    """Return what stands in a client's record."""
    rights = client.rights
    fields: dict[str, Any] = {
        "version": client.version,
        "identities": [
            {"sign": _text(it.sign), "seal": _text(it.seal)} for it in client.identities
        ],
        "actions": sorted(rights.actions),
        "kinds": sorted(rights.kinds),
        "projects": list(rights.projects),
        "nodes": list(rights.nodes),
        "needs_grant": rights.needs_grant,
        "enrolled": _mark_fields(client.enrolled),
    }
    for name, mark in (("revoked", client.revoked), ("renewed", client.renewed)):
        if mark is not None:
            fields[name] = _mark_fields(mark)
    return fields


def client_in(name: str, fields: Mapping[str, Any]) -> ClientRecord:
    """Return a client from its record's fields.

    Raises:
        ValueError, KeyError, TypeError: another release wrote it.
    """
    rights = Rights(
        frozenset(map(Right, fields["actions"])),
        frozenset(map(Kind, fields["kinds"])),
        tuple(fields["projects"]),
        tuple(fields["nodes"]),
        fields["needs_grant"],
    )
    identities = tuple(
        PublicIdentity(base64.b64decode(it["sign"]), base64.b64decode(it["seal"]))
        for it in fields["identities"]
    )
    revoked, renewed = fields.get("revoked"), fields.get("renewed")
    return ClientRecord(
        name,
        fields["version"],
        identities,
        rights,
        _mark_in(fields["enrolled"]),
        None if revoked is None else _mark_in(revoked),
        None if renewed is None else _mark_in(renewed),
    )


def _mark_fields(mark: Stamp) -> dict[str, str]:
    return {"at": mark.at, "by": mark.by.name, "reason": mark.by.reason}


def _mark_in(fields: Mapping[str, str]) -> Stamp:
    return Stamp(fields["at"], Operator(fields["by"], fields["reason"]))


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
