"""Clients, as an installation knows them: by which identities, and what each may ask for. Pure."""

from collections.abc import Collection
from dataclasses import replace
from enum import StrEnum
from typing import Final

from kmworker.delegation.identity import PublicIdentity
from kmworker.domain.keys import Operator
from kmworker.domain.lifecycle import NoStep
from kmworker.domain.model import Kind
from kmworker.domain.policy_tables import matches_any
from kmworker.domain.values import value

__all__ = [
    "GRANTED_KINDS", "ClientRecord", "Right", "Rights", "Stamp", "enrolled", "may", "renewed",
    "revoked",
]  # fmt: skip

GRANTED_KINDS: Final = frozenset({Kind.VOLUME, Kind.SNAPSHOT, Kind.REPLICA})
"""What a client needs a grant for, unless it was enrolled to need none."""


class Right(StrEnum):
    """What a client may ask for."""

    GET = "get"
    CREATE = "create"
    STORE = "store"
    DELETE = "delete"
    LIST = "list"
    DESCRIBE = "describe"


@value
class Rights:
    """What a client may do, and where."""

    actions: frozenset[Right]
    kinds: frozenset[Kind]
    projects: tuple[str, ...]
    """Globs."""
    nodes: tuple[str, ...] = ()
    """The names, in attachments and in replicas, that it answers for."""
    needs_grant: bool = True
    """Whether it gets the keys of `GRANTED_KINDS` only where they are attached, or held."""


@value
class Stamp:
    """That a person has done something, and when."""

    at: str
    """RFC 3339, UTC."""
    by: Operator


@value
class ClientRecord:
    """One client."""

    name: str
    """Its user of the broker."""
    version: int
    """Grows with each change."""
    identities: tuple[PublicIdentity, ...]
    """The newest first; two while the newest takes the other's place."""
    rights: Rights
    enrolled: Stamp
    revoked: Stamp | None = None
    renewed: Stamp | None = None
    """When it was given its newest identity, if that is not the first."""

    @property
    def is_revoked(self) -> bool:
        """Return whether it is a client no more."""
        return self.revoked is not None


def may(client: ClientRecord, action: Right, project: str, kind: Kind | None) -> bool:
    """Return whether a client has the right to ask for something, granted or not.

    Args:
        client: who asks.
        action: what for.
        project: whose.
        kind: of the item; None: what is asked for is no item of a known kind.
    """
    rights = client.rights
    if client.is_revoked or action not in rights.actions:
        return False
    return (kind is None or kind in rights.kinds) and matches_any(rights.projects, project)


def enrolled(
    before: ClientRecord | None, name: str, identity: PublicIdentity, rights: Rights, mark: Stamp
) -> ClientRecord | NoStep:
    """Return a client that is enrolled; one that was revoked may be enrolled anew."""
    if before is not None and not before.is_revoked:
        return NoStep("it is enrolled; kmworker client renew gives it another identity")
    if before is not None and identity in before.identities:
        # Whoever has stolen it has it still.
        return NoStep("this identity was revoked: make another on that host")
    return ClientRecord(
        name, 1 if before is None else before.version + 1, (identity,), rights, mark
    )


def renewed(
    client: ClientRecord, identity: PublicIdentity, mark: Stamp, *, is_alone: bool
) -> ClientRecord | NoStep:
    """Return a client with another identity beside its present one, or alone.

    Args:
        client: as it is.
        identity: the new one, or its present one to have that alone again.
        mark: who does it, and when.
        is_alone: whether what it had before holds no more.
    """
    if client.is_revoked:
        return NoStep("it is revoked: enroll it anew")
    kept: Collection[PublicIdentity] = () if is_alone else client.identities[:1]
    identities = tuple(dict.fromkeys((identity, *kept)))
    if identities == client.identities:
        return NoStep("it is as it is to be already")
    is_new = identity not in client.identities
    return replace(
        client,
        version=client.version + 1,
        identities=identities,
        renewed=mark if is_new else client.renewed,
    )


def revoked(client: ClientRecord, mark: Stamp) -> ClientRecord | NoStep:
    """Return a client that gets nothing any more."""
    if client.revoked is not None:
        return NoStep(f"it is revoked since {client.revoked.at}")
    return replace(client, version=client.version + 1, revoked=mark)
