"""Which client may hold a copy of which key, by key-id and by client; each entry ends by itself."""

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

import structlog
from redis.exceptions import RedisError, ResponseError

from kmworker.clock import Clock
from kmworker.domain.model import Kind
from kmworker.keyserver.ports import Copy
from kmworker.ports import Answered, Pending
from kmworker.settings import MAX_KEEP_S
from kmworker.store.client import Client
from kmworker.store.connection import store_errors
from kmworker.store.names import Names
from kmworker.store.paging import Pages
from kmworker.store.pipe import Command, Then
from kmworker.store.records import item_at
from kmworker.wire.fields import CLIENT_NAME, ITEM_ID, PROJECT_ID, UUID

__all__ = ["REVOKED", "RedisCopies"]

log = structlog.get_logger()

REVOKED: Final = "revoked"
"""Hash: `<client> <version>` of each client that was revoked, until its copies are told of."""
PAGE_SIZE: Final = 1_000
VERSION: Final = re.compile(r"[0-9]{1,15}")


class RedisCopies:
    """A `kmworker.keyserver.ports.CopyRegister` on Redis or Valkey."""

    def __init__(self, client: Client, names: Names, clock: Clock, keep_s: float) -> None:
        """Prepare.

        Args:
            client: of the store's server.
            names: of its keys.
            clock: the store's time.
            keep_s: how long a copy may be kept at most.
        """
        self._client: Any = client  # its types leave open whether replies are bytes
        self._pages = Pages(client, PAGE_SIZE)
        self._names = names
        self._clock = clock
        self._keep_s = keep_s

    def add(self, copies: Sequence[Copy]) -> Pending[None]:
        """Note copies that are about to be delivered; what is asked for from now on finds them."""
        if not copies:
            return Answered(None)
        entries: defaultdict[str, dict[str, float]] = defaultdict(dict)
        for it in copies:
            ref = "" if it.item is None else it.item.ref
            of_key = self._names.copies_of(it.project, it.key_id)
            entries[of_key][f"{it.client} {ref}"] = it.until_s
            at_client = self._names.copies_at(it.client)
            entries[at_client][f"{it.project} {it.key_id} {ref}"] = it.until_s
        now, life_s = self._clock.now(), int(self._keep_s) + 1
        commands: list[Command] = []
        for name, members in entries.items():
            scored = chain.from_iterable((until_s, member) for member, until_s in members.items())
            commands += (
                ("ZADD", name, *scored),
                ("ZREMRANGEBYSCORE", name, "-inf", now),
                ("EXPIRE", name, life_s),
            )
        with store_errors():
            replies = self._client.pipe.send(commands)
        return Then(replies, lambda: _noted(replies))

    def of_keys(self, keys: Sequence[tuple[str, str]]) -> list[list[Copy]]:
        """Return the copies of keys, by project and key-id."""
        found: list[list[Copy]] = []
        replies = self._live([self._names.copies_of(*it) for it in keys])
        for (project, key_id), entries in zip(keys, replies, strict=True):
            copies = []
            for member, until_s in entries:
                client, _space, ref = member.partition(" ")
                copies += _copy(project, key_id, client, ref, until_s)
            found.append(copies)
        return found

    def at_client(self, client: str) -> list[Copy]:
        """Return the copies that a client may hold."""
        (entries,) = self._live([self._names.copies_at(client)])
        copies = []
        for member, until_s in entries:
            project, _space, rest = member.partition(" ")
            key_id, _space, ref = rest.partition(" ")
            copies += _copy(project, key_id, client, ref, until_s)
        return copies

    def revoked_clients(self) -> list[tuple[str, str]]:
        """Return the clients that were revoked and are not told yet, each with its version."""
        with store_errors():
            key = self._names.top(REVOKED)
            found, strange = [], []
            for name in self._pages.next(key):
                client, _space, version = name.decode(errors="replace").partition(" ")
                is_version = VERSION.fullmatch(version) is not None
                if is_version and re.fullmatch(CLIENT_NAME, client):
                    found.append((client, version))
                else:
                    strange.append(name)
            if strange:
                # No operator's: whoever was meant by it is told nothing.
                log.error("an entry is none", key=key, entries=len(strange))
                self._client.hdel(key, *strange)
        return found

    def told(self, revoked: Sequence[tuple[str, str]]) -> None:
        """Take out clients that are told."""
        fields = [f"{client} {version}" for client, version in revoked]
        with store_errors():
            self._client.hdel(self._names.top(REVOKED), *fields)

    def _live(self, names: Sequence[str]) -> list[list[tuple[str, float]]]:
        """Return the members of each key that are not over, with their scores."""
        if not names:
            return []
        now = self._clock.now()
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for name in names:
                pipeline.zrangebyscore(name, f"({now}", "+inf", withscores=True)
            replies = pipeline.execute(raise_on_error=False)
            found: list[list[tuple[str, float]]] = []
            for name, reply in zip(names, replies, strict=True):
                if isinstance(reply, Exception) and not isinstance(reply, ResponseError):
                    raise reply
                is_spoilt = isinstance(reply, ResponseError)
                if is_spoilt:
                    log.error("copies cannot be read", key=name, error=str(reply))
                entries = () if is_spoilt else reply
                # None is kept for longer: what says so is no key server's.
                latest = now + MAX_KEEP_S
                found.append(
                    [(it.decode(errors="replace"), min(until, latest)) for it, until in entries]
                )
        return found


def _noted(replies: Pending[list[Any]]) -> None:
    with store_errors():
        for reply in replies.result():
            if isinstance(reply, ResponseError):
                # Somebody's who writes to the store: those clients are told nothing.
                log.error("a copy is not noted", error=str(reply))
            elif isinstance(reply, RedisError):
                raise reply


def _copy(project: str, key_id: str, client: str, ref: str, until_s: float) -> list[Copy]:
    """Return the copy that an entry is of; none: no key server has written it."""
    item = item_at(project, ref.encode()) if ref else None
    names = [(CLIENT_NAME, client), (PROJECT_ID, project), (UUID, key_id)]
    if item is not None:
        names.append((ITEM_ID, item.id))
    is_named = all(re.fullmatch(*it) for it in names)
    if is_named and (item is None or item.kind is not Kind.IMAGE):
        return [Copy(project, key_id, client, item, until_s)]
    log.error("an entry of copies is none", project=project[:128], client=client[:128])
    return []
