"""One Lua for all simulated servers of a process, and each script compiled once.

fakeredis makes a Lua for each server and compiles a script at each call, and collects its
garbage after each. Its servers keep nothing in Lua from one call to the next, so all can share one.
"""

from functools import cache
from typing import Any, Final

import fakeredis

# As fakeredis names what it keeps of Lua on a server.
PREFIX: Final = "_lua_"
COLLECT: Final = "collectgarbage()"
# fakeredis collects after each call, which takes longer than most calls.
CALLS_BETWEEN_COLLECTIONS: Final = 500


def simulated_server() -> fakeredis.FakeServer:
    """Return an empty server that shares its Lua with the others."""
    server = fakeredis.FakeServer()
    for name, value in _lua_of_a_server().items():
        setattr(server, name, value)
    return server


@cache
def _lua_of_a_server() -> dict[str, Any]:
    server = fakeredis.FakeServer()
    fakeredis.FakeRedis(server=server).eval("return 1", 0)
    found = {name: value for name, value in vars(server).items() if name.startswith(PREFIX)}
    return found | {"_lua_runtime": _Compiling(found["_lua_runtime"])}


class _Compiling:
    """A Lua that remembers what it has compiled."""

    def __init__(self, runtime: Any) -> None:
        self.globals = runtime.globals
        self.table_from = runtime.table_from
        self._runtime = runtime
        self._compiled: dict[Any, Any] = {}
        self._calls = 0

    def execute(self, script: Any) -> Any:
        """Run a script."""
        if script == COLLECT:
            self._calls += 1
            return self._calls % CALLS_BETWEEN_COLLECTIONS or self._runtime.execute(script)
        compiled = self._compiled.get(script)
        if compiled is None:
            compiled = self._compiled[script] = self._runtime.compile(script)
        return compiled()
