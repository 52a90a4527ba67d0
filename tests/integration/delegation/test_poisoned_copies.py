"""Entries among the copies that no key server has noted: whoever is served before is served on."""

from time import time
from typing import Any, Final

from tests.integration.delegation.neighbours import MINE, THEIRS, is_served
from tests.kit.outside.asking import Host, Line, lined
from tests.kit.outside.delegating import Delegation, P, detached
from tests.kit.polling import until

# A time that no clock has, and a name longer than AMQP's.
NEVER: Final = "inf"
LONG: Final = "x" * 300


def test_a_copy_that_cannot_be_ends_no_key_server(
    told: Delegation, host: Host, line: Line, other: Host
) -> None:
    with lined(other) as own:
        is_served(host, line)
        is_served(other, own, THEIRS)
        admin: Any = told.site.reader.admin
        for key in admin.keys(f"{told.site.prefix}:{{{P}}}:copies:*"):
            admin.zadd(key, {f"{LONG} volume:{MINE}": time() + 900})
            admin.zadd(key, {f"{host.name} volume:{MINE}": NEVER})
        before = {it["pid"] for it in told.site.reader.key_servers().values()}
        # Whatever ends has key servers look at who may have a copy.
        told.tell(detached(MINE, "never-was"), detached(MINE))

        def is_told() -> bool:
            return any(int(it.get("revoked", 0)) for it in told.site.reader.key_servers().values())

        until(is_told, "the copy that there is was told of")
        is_served(other, own, THEIRS)
    assert {it["pid"] for it in told.site.reader.key_servers().values()} == before
