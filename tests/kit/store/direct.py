"""Hands commands to fakeredis without the wire that it has for them.

fakeredis has what is sent packed as for a network, parses it, asks what its user may do, and
looks at the type of every reply. Here a command's fields go to what runs it, and its reply comes
back. The commands are fakeredis' own, and so are the values that it keeps.

Beside `tests.kit.simulator.lua` nothing else rests on fakeredis' private parts: hence the upper
bound on its version. What is sent packed, as pipelines are, goes its own way still, and
`tests/simulation/test_direct.py` holds the two ways to the same replies.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from queue import SimpleQueue
from types import NoneType
from typing import Any, Final

from fakeredis import FakeRedisConnection, FakeServer
from fakeredis._commands import COMMANDS_WITH_SUB, Key, Signature
from fakeredis._core import CommandItem, Database
from fakeredis._helpers import NoResponse, SimpleError, SimpleString
from fakeredis._msgs import (
    FLAG_DO_NOT_CREATE,
    FLAG_LEAVE_EMPTY_VAL,
    FLAG_NO_SCRIPT,
    FLAG_SKIP_CONVERT_TO_RESP2,
    WRONGTYPE_MSG,
)
from fakeredis._socket import FakeSocket
from fakeredis._socket._resp import convert_to_resp2, extract_command
from fakeredis.commands_mixins.scripting_mixin import _convert_redis_arg

IN_EITHER_PROTOCOL: Final = frozenset((bytes, int, NoneType, SimpleString))
IN_LUA: Final = frozenset((bytes, int))

Found = tuple[Callable[..., Any] | None, Signature]
"""What runs a command, and what it takes."""


class DirectConnection(FakeRedisConnection):
    """A connection that does not pack a command which is sent alone."""

    def send_command(self, *args: Any, **_options: Any) -> None:
        """Have a command run; `read_response` then gives its reply."""
        first = args[0]
        if isinstance(first, str) and " " in first:
            args = (*first.split(), *args[1:])
        socket: Any = self.get_socket()
        encode: Any = self.encoder.encode
        socket.answer([it if type(it) is bytes else encode(it) for it in args])

    def on_connect_check_health(self, check_health: bool = True) -> None:
        """Greet nobody: the server's end has been told what a greeting would tell it."""

    def _connect(self) -> "DirectSocket":
        server: Any = self._server
        return DirectSocket(
            server,
            client_class=self._client_class,
            db=self.db,
            lua_modules=self._lua_modules,
            client_info=self._client_info,
        )

    def _decode(self, response: Any) -> Any:
        return super()._decode(response) if self.encoder.decode_responses else response


class DirectSocket(FakeSocket):
    """The server's end of a connection."""

    def __init__(self, server: FakeServer, *args: Any, **options: Any) -> None:
        super().__init__(server, *args, **options)
        self.responses: Any = SimpleQueue()
        self._found: dict[bytes, Found] = {}

    def answer(self, fields: list[bytes]) -> None:
        """Run a command, and put its reply where the client reads it."""
        if self._transaction is not None:
            self._process_command(fields)
            return
        name, args = extract_command(fields)
        with self._server.lock:
            now = time.time()
            for db in self._server.dbs.values():
                db.time = now
            try:
                func, sig = self._name_to_func(name)
                reply = self._run_command(func, sig, args, False)
            except SimpleError as error:
                reply = error
        if not isinstance(reply, NoResponse):
            self.put_response(self._decode_result(reply))

    def put_response(self, msg: Any) -> None:
        """Put a reply where the client reads it; tell only who does not know that there are any."""
        if self.responses is None:
            return
        self.responses.put(msg)
        if not self.response_ready.is_set():
            self.response_ready.set()

    def _run_command(
        self, func: Callable[..., Any] | None, sig: Signature, args: list[bytes], from_script: bool
    ) -> Any:
        plan = _plan(sig, len(args))
        if func is None or plan is None or (from_script and plan.is_barred_from_scripts):
            return super()._run_command(func, sig, args, from_script)
        if self._pubsub or self._server.subscribers or self._server.psubscribers:
            return super()._run_command(func, sig, args, from_script)
        self._subkey_events = []
        items: list[CommandItem] = []
        try:
            values, missing = plan.read(args, self._db, items)
            if missing is not None:
                return missing[0]
            reply = func(*values)
            is_other = type(reply) not in IN_EITHER_PROTOCOL and plan.is_converted
            if is_other and self._resp_version == 2:
                reply = convert_to_resp2(reply)
        except SimpleError as error:
            reply = error
        for item in items:
            item.writeback(remove_empty_val=plan.removes_empty)
        return reply

    def _lua_redis_call(
        self, lua_runtime: Any, expected_globals: set[Any], op: bytes, *args: Any
    ) -> Any:
        found = self._found.get(op)
        if found is None:
            name = op.decode().lower()
            if name in COMMANDS_WITH_SUB:
                return super()._lua_redis_call(lua_runtime, expected_globals, op, *args)
            found = self._found[op] = self._name_to_func(name)
        # Whether a script sets globals is asked once, when it has ended.
        fields = [it if type(it) is bytes else _convert_redis_arg(it) for it in args]
        func, sig = found
        reply = self._run_command(func, sig, fields, True)
        if type(reply) in IN_LUA:
            return reply
        if type(reply) is list and IN_LUA.issuperset(map(type, reply)):
            return lua_runtime.table_from(reply)
        return self._convert_redis_result(lua_runtime, reply)


class Keyspace:
    """What a server holds, looked at without a command: for keys that do not expire."""

    def __init__(self, server: FakeServer) -> None:
        self._db = server.dbs[0]

    def text(self, key: str) -> bytes | None:
        """Return what GET replies."""
        item = self._db.get(key.encode())
        return None if item is None else item.value

    def field(self, key: str, field: str) -> bytes | None:
        """Return what HGET replies."""
        item = self._db.get(key.encode())
        return None if item is None else item.value.get(field.encode())

    def fields(self, key: str) -> set[bytes]:
        """Return what HKEYS replies."""
        item = self._db.get(key.encode())
        return set() if item is None else set(item.value.keys())

    def pairs(self, key: str) -> set[tuple[bytes, bytes]]:
        """Return what HGETALL replies."""
        item = self._db.get(key.encode())
        if item is None or isinstance(item.value, bytes):
            # Someone has put text there.
            return set()
        return {(name, item.value.get(name)) for name in item.value}

    def members(self, key: str) -> set[bytes]:
        """Return what SMEMBERS replies."""
        item = self._db.get(key.encode())
        return set() if item is None else set(item.value)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What becomes of a command's arguments: the same at each call with as many of them."""

    arguments: Sequence[tuple[int, Any]]
    """Those that are not taken as they are: by place, and as what."""
    keys: Sequence[tuple[int, Key]]
    is_barred_from_scripts: bool
    is_converted: bool
    """The reply, for the older version of the protocol."""
    removes_empty: bool
    creates: bool

    def read(
        self, args: Sequence[bytes], db: Database, items: list[CommandItem]
    ) -> tuple[list[Any], tuple[Any] | None]:
        """Return what the command is called with, or its reply if a key is missing.

        Args:
            args: as they were sent.
            db: what is read.
            items: is given the keys' values, which the command may change.
        """
        values: list[Any] = list(args)
        for at, type_ in self.arguments:
            if not isinstance(type_, Key):
                values[at] = type_.decode(values[at])
            elif type_.missing_return is not Key.UNSPECIFIED and values[at] not in db:
                return values, (type_.missing_return,)
        for at, key in self.keys:
            item = db.get(values[at])
            type_ = key.type_
            if type_ is not None and item is not None and type(item.value) is not type_:
                raise SimpleError(WRONGTYPE_MSG)
            default = None
            if item is None and self.creates and type_ is not None and type_ is not bytes:
                default = type_()
            values[at] = CommandItem(values[at], db, item, default=default)
            items.append(values[at])
        return values, None


@cache
def _plan(sig: Signature, number: int) -> _Plan | None:
    """Return the plan for a command with so many arguments; None if it does not take as many."""
    try:
        sig.check_arity([b""] * number, ())
    except SimpleError:
        return None
    types: list[Any] = [*sig.fixed]
    types += [sig.repeat[at % len(sig.repeat)] for at in range(number - len(types))]
    return _Plan(
        arguments=[(at, it) for at, it in enumerate(types) if it is not bytes],
        keys=[(at, it) for at, it in enumerate(types) if isinstance(it, Key)],
        is_barred_from_scripts=FLAG_NO_SCRIPT in sig.flags,
        is_converted=FLAG_SKIP_CONVERT_TO_RESP2 not in sig.flags,
        removes_empty=FLAG_LEAVE_EMPTY_VAL not in sig.flags,
        creates=FLAG_DO_NOT_CREATE not in sig.flags,
    )
