"""What operators see of delegation, each with the account that is shipped for it."""

import json
from typing import Any

from tests.integration.cli.test_events import volume
from tests.kit.outside.delegating import CLIENT, Delegation, P, attached, serving
from tests.kit.polling import until


def checks(delegation: Delegation) -> dict[str, Any]:
    """What doctor says, by check."""
    done = delegation.site.run("doctor", "--json", exit_code=None)
    return {it["check"]: it for it in json.loads(done.stdout)["checks"]}


def test_who_looks_after_it_sees_who_delegates_by_which_list_and_to_whom(
    delegation: Delegation,
) -> None:
    delegation.tell(volume("v1", P), attached("v1"))
    assert delegation.get("v1")
    site = delegation.site
    (server_id,) = site.reader.key_servers()
    until(lambda: site.reader.key_servers()[server_id].get("delivered") == "1", "it has reported")
    found = checks(delegation)
    assert {found[it]["status"] for it in ("keyservers", "trust")} == {"ok"}
    assert found["audit"]["detail"] == "1 record on the way to the auditor, and none runs"
    assert found["keyservers"]["detail"].startswith("1 live of 1 seen today; delivered 1, ")
    assert found["requests"]["detail"] in {
        "0 requests for 1 key server",
        # From RabbitMQ 4.3 on, only who has some right on a queue may look at it.
        f"user worker may not look at {site.namespace}.requests",
    }
    status = json.loads(site.run("status", "--json").stdout)["delegation"]
    (server,) = status["key_servers"]
    assert (server["server_id"], server["is_live"], server["trouble"]) == (server_id, True, "")
    assert status["clients"] == {"number": 1, "revoked": 0, "aged": []}
    (listed,) = json.loads(site.run("client", "list", "--json").stdout)
    assert (listed["client"], listed["renewed_at"]) == (CLIENT, None)


def test_so_many_key_servers_find_room_within_their_account_s_limits(
    delegation: Delegation,
) -> None:
    delegation.tell(volume("v7", P))
    site = delegation.site
    with serving(site, 7) as more:
        pids = {str(it.process.pid) for it in more}

        def run() -> bool:
            seen = [it for it in site.reader.key_servers().values() if it["pid"] in pids]
            # Each has all of its connections before it says so.
            return len(seen) == 7 and all(it["state"] == "running" for it in seen)

        until(run, "all of them run")
