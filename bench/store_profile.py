"""Where a script's time goes: the commands that take most, the others, and Lua around them.

By Redis' own clock (`INFO commandstats`), which goes on while another program has the core. The
commands of a worker are scripts; what these take beside the commands in them is Lua.
"""

from collections import Counter
from collections.abc import Sequence

from bench.servers import Servers

__all__ = ["Clock", "by_part", "clock"]

SCRIPT = "evalsha"
LOOK = "info"
LARGE = ("hmget", "hset", "zadd", "hincrby", "hexists")
OTHERS = "other commands"
LUA = "Lua"

Clock = dict[str, float]


def clock(servers: Servers) -> Clock:
    """Return the microseconds that each command but this has taken since the server started."""
    found = servers.client().info("commandstats")
    spent = {name.removeprefix("cmdstat_"): float(each["usec"]) for name, each in found.items()}
    spent.pop(LOOK, None)
    return spent


def by_part(spans: Sequence[tuple[Clock, Clock]], events: int) -> dict[str, float]:
    """Share out what scripts have taken.

    Args:
        spans: the clock before and after each.
        events: that were handled in these.

    Returns:
        Microseconds for one event, by part.
    """
    spent: Counter[str] = Counter()
    for first, last in spans:
        spent.update({name: us - first.get(name, 0.0) for name, us in last.items()})
    each = {name: us / events for name, us in spent.items()}
    scripts = each.pop(SCRIPT, 0.0)
    parts = {name: each.pop(name, 0.0) for name in LARGE}
    parts[OTHERS] = sum(each.values())
    return parts | {LUA: scripts - sum(parts.values())}
