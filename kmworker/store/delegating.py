"""The store, as a key server sees it: it reads records and wrapped DEKs, and changes none.

Each record is looked at twice for a delivery, before it is recorded and after. What stands in the
store is asked for both times; where it is the same to the byte, it is not opened again.

What it writes is which requests it has seen, so that one that is sent again is known for the same,
whichever key server it comes to.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import chain
from typing import Any, Final

import structlog
from redis.exceptions import RedisError

from kmworker.delegation.clients import ClientRecord
from kmworker.delegation.requests import FRESH_S
from kmworker.delegation.trust_list import HandedOut
from kmworker.domain.endings import client_thing, grants_thing, key_thing
from kmworker.domain.grants import NO_GRANTS, Grants
from kmworker.domain.model import Broken, Held, KeyRecord, State, held_in
from kmworker.errors import PermanentError
from kmworker.keyserver.ports import FoundKey
from kmworker.ports import Answered, Pending
from kmworker.store.admission import Admission
from kmworker.store.client import Client
from kmworker.store.connection import store_errors
from kmworker.store.endings_read import OVER, EndingsRead
from kmworker.store.endings_seen import OF_CLIENTS
from kmworker.store.endings_watch import EndingsWatch
from kmworker.store.names import Names
from kmworker.store.pipe import Command, Then
from kmworker.store.records import CLIENTS, LIST, TRUST, refuse_other_dek
from kmworker.store.remembering import RememberingCodec
from kmworker.store.scripts import Scripts
from kmworker.wire.answers.bodies import Asked

__all__ = ["DelegationStore"]

log = structlog.get_logger()

DELEGATE_KEYS: Final = ("items", "keys", "scopes", "deks", "grants", "endings")
PER_REQUEST: Final = 5
ROUNDS: Final = 10
REMEMBERED_S: Final = int(2 * FRESH_S) + 60
"""A request is fresh for as long around its time, and clocks may differ a little: so long, and no
longer, can one be sent again."""
DIGEST_DIGITS: Final = 32
"""Of 128 bits. Some 200 bytes of memory for each request: whoever asks as often as may be has some
7 MB (docs/delegating.md). To find two with one digest would harm nobody but who has asked both."""
IF_NEW: Final = ("NX", "GET", "EX", REMEMBERED_S)
"""The first that asks is noted; the answer is what was noted before (Redis 7.0)."""
NOTHING: Final = FoundKey(None, None, None, None, NO_GRANTS)


class DelegationStore:
    """A `kmworker.keyserver.ports.KeyStore` on Redis or Valkey."""

    def __init__(  # noqa: PLR0913  # its parts; one place builds it
        self,
        client: Client,
        names: Names,
        codec: RememberingCodec,
        admission: Admission,
        has_projects: Callable[[], bool],
        *,
        endings: EndingsRead,
        watch: EndingsWatch,
    ) -> None:
        self._client: Any = client  # its types leave open whether replies are bytes
        self._names = names
        self._codec = codec
        self._admission = admission
        self._has_projects = has_projects
        self._endings = endings
        self._watch = watch
        self._scripts = Scripts(client)

    @property
    def installation(self) -> str:
        """Return the installation's id, once it is admitted."""
        return self._admission.installation

    def admit(self) -> str:
        """Check that this store may be used; see `Admission.admit`."""
        self._codec.forget()
        source = self._admission.admit_after_a_worker(self._has_projects)
        self._watch.begin()
        return source

    def follow_keyring(self) -> None:
        """Take up what has become of KEKs, and of the keyring file; see `Admission.follow`."""
        self._codec.forget()
        self._admission.follow()
        self._watch.go_on()

    def clients(self, names: Sequence[str]) -> dict[str, ClientRecord]:
        """Return those of these that are clients; one whose record is forged is none."""
        asked = sorted(set(names))
        if not asked:
            return {}
        for _ in range(ROUNDS):
            with store_errors():
                pipeline = self._client.pipeline(transaction=False)
                # Its end first: what is read behind that is no older than it.
                pipeline.lindex(self._names.endings(OF_CLIENTS), -1)
                pipeline.hmget(self._names.top(CLIENTS), asked)
                last, records = pipeline.execute()
            if self._endings.is_known(OF_CLIENTS, last):
                return dict(self._clients(asked, records))
            self._endings.read(OF_CLIENTS)
            if self._endings.flaw(OF_CLIENTS):
                return {}
        return {}

    def _clients(
        self, names: Sequence[str], records: Sequence[bytes | None]
    ) -> Iterator[tuple[str, ClientRecord]]:
        for name, record in zip(names, records, strict=True):
            if record is None:
                continue
            try:
                found = self._codec.read_client(name, record)
            except PermanentError as forged:
                log.error("a client's record is not authentic", client=name, detail=forged.detail)  # noqa: TRY400
                continue
            if not self._endings.is_over(OF_CLIENTS, client_thing(name), found.version):
                yield name, found

    def is_first(self, asked: Sequence[tuple[str, Asked]]) -> list[bool | None]:
        """Say of requests, by client and id, whether nobody has asked them before."""
        return self._noted([("GET", self._asked_name(it)) for it in asked], asked).result()

    def note(self, asked: Sequence[tuple[str, Asked]]) -> Pending[list[bool | None]]:
        """Note requests by client and id; the store has them on disk when the answer is there."""
        commands = [("SET", self._asked_name(it), _digits(it[1].digest), *IF_NEW) for it in asked]
        return self._noted(commands, asked)

    def _noted(
        self, commands: Sequence[Command], asked: Sequence[tuple[str, Asked]]
    ) -> Pending[list[bool | None]]:
        if not asked:
            return Answered([])
        with store_errors():
            replies = self._client.pipe.send(commands)
        return Then(replies, lambda: _compared(replies, asked))

    def _asked_name(self, asked: tuple[str, Asked]) -> str:
        client, request = asked
        return self._names.asked(_digits(sha256(f"{client} {request.id}".encode()).hexdigest()))

    def find(self, asked: Sequence[Asked]) -> list[FoundKey]:
        """Return what is asked for, in one round trip, and two more where anything has ended."""
        found = [NOTHING] * len(asked)
        left: Sequence[int] = range(len(asked))
        for _ in range(ROUNDS):
            if not left:
                return found
            left = self._find(asked, left, found)
        for index in left:
            found[index] = _flawed("what is over changes faster than it is read")
        return found

    def _find(
        self, asked: Sequence[Asked], wanted: Sequence[int], found: list[FoundKey]
    ) -> list[int]:
        """Look at some of these; return those of projects where something has ended since."""
        shares: defaultdict[str, list[int]] = defaultdict(list)
        for index in wanted:
            shares[asked[index].project].append(index)
        calls = [
            (
                "delegate",
                self._names.all_of(project, *DELEGATE_KEYS),
                list(chain.from_iterable(_named(asked[index]) for index in indexes)),
            )
            for project, indexes in shares.items()
        ]
        left: list[int] = []
        replies = self._scripts.run_each(calls)
        for (project, indexes), reply in zip(shares.items(), replies, strict=True):
            if isinstance(reply, Exception):
                # A key of the project is of another type now: its own tenants' alone.
                self._all_flawed(found, indexes, str(reply))
                continue
            if self._endings.is_known(project, reply[0]):
                for place, index in enumerate(indexes):
                    at = 1 + place * PER_REQUEST
                    found[index] = self._found(asked[index], reply[at : at + PER_REQUEST])
                continue
            self._endings.read(project)
            if flaw := self._endings.flaw(project):
                self._all_flawed(found, indexes, flaw)
            else:
                left += indexes
        return left

    def _all_flawed(self, found: list[FoundKey], indexes: Iterable[int], detail: str) -> None:
        for index in indexes:
            found[index] = _flawed(detail)

    def _found(self, asked: Asked, values: Sequence[bytes | None]) -> FoundKey:
        record, key, scope, wrapped, granted = values
        try:
            if asked.item is None:
                return self._by_key_id(asked, key, scope, wrapped)
            grants = NO_GRANTS
            if granted is not None:
                grants = self._codec.read_grants(asked.item, granted).grants
            has_dek = int(wrapped is not None)
            state = self._codec.state(asked.item, [record, key, scope, has_dek, 0])
        except PermanentError as broken:
            return _flawed(broken.detail)
        thing = grants_thing(asked.item.ref)
        if granted is not None and self._endings.is_over(asked.project, thing, grants.version):
            return _flawed(OVER)
        return self._of_state(asked, state, grants, wrapped)

    def _of_state(
        self, asked: Asked, state: State, grants: Grants, wrapped: bytes | None
    ) -> FoundKey:
        if isinstance(state, Broken):
            return _flawed(state.detail, grants)
        held = held_in(state)
        if not isinstance(state, Held) or held is None:
            return FoundKey(state, None, None, None, grants)
        if held.key is not None and self._is_older(asked.project, held.key):
            return _flawed(OVER, grants)
        return FoundKey(state, held.key, held.scope, wrapped, grants)

    def _by_key_id(
        self, asked: Asked, key: bytes | None, scope: bytes | None, wrapped: bytes | None
    ) -> FoundKey:
        if key is None or scope is None:
            return NOTHING
        key_record = self._codec.read_key(asked.project, str(asked.key_id), key)
        scope_record = self._codec.read_scope(asked.project, key_record.scope_id, scope)
        refuse_other_dek(key_record, scope_record)
        if self._is_older(asked.project, key_record):
            return _flawed(OVER)
        return FoundKey(None, key_record, scope_record, wrapped, NO_GRANTS)

    def _is_older(self, project: str, key: KeyRecord) -> bool:
        return self._endings.is_over(project, key_thing(key.key_id), key.version)

    def trust(self) -> HandedOut | None:
        """Return the trust list that is handed out."""
        with store_errors():
            record = self._client.hget(self._names.top(TRUST), LIST)
        return None if record is None else self._codec.read_trust(record)

    def time_s(self) -> float:
        """Return the store's time, Unix seconds."""
        with store_errors():
            seconds, microseconds = self._client.time()
        return float(seconds) + float(microseconds) / 1e6


def _compared(replies: Pending[list[Any]], asked: Sequence[tuple[str, Asked]]) -> list[bool | None]:
    """Return of each whether nothing was noted before: False: the same; None: something else."""
    with store_errors():
        kept = replies.result()
        for it in kept:
            if isinstance(it, RedisError) and "WRONGTYPE" not in str(it):
                raise it
    return [
        # What somebody has put in its place is other bytes: that client's trouble alone.
        True if digest is None else (False if digest == _digits(request.digest).encode() else None)
        for digest, (_client, request) in zip(kept, asked, strict=True)
    ]


def _digits(digest: str) -> str:
    return digest[:DIGEST_DIGITS]


def _named(asked: Asked) -> tuple[str, str]:
    return ("K", str(asked.key_id)) if asked.item is None else ("I", asked.item.ref)


def _flawed(detail: str, grants: Grants = NO_GRANTS) -> FoundKey:
    return FoundKey(None, None, None, None, grants, detail)
