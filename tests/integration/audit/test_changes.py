"""What becomes of a key, from the command that does it into the trail."""

import json
from pathlib import Path

from tests.integration.audit.conftest import auditor_on
from tests.kit.outside.worker import Site, working
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ, StoreServer


def test_a_suspended_key_is_in_the_trail_with_who_did_it_and_why(
    rabbitmq: RabbitMQ, redis_server: StoreServer, namespace: str, prefix: str, tmp_path: Path
) -> None:
    settings = {"KMWORKER_AUDIT__RECORDS": "true"}
    site = Site(tmp_path, rabbitmq, redis_server, namespace, prefix, settings=settings)
    site.lay_keyring()
    auditor = auditor_on(rabbitmq, namespace, tmp_path)
    try:
        with working(site):
            site.run("publish", "volume-created", "--project", "p1", "--set", "volume_id=v1",
                     "--set", 'encryption={"cipher":"aes-xts-plain64","key_bits":512}')  # fmt: skip
            until(lambda: site.reader.records("p1", "items"), "it is assigned")
            change = ("volume:v1", "--project", "p1", "--operator", "alice", "--reason", "leak")
            # No auditor runs, and nobody waits for one.
            site.run("key", "suspend", *change)
            site.run("key", "resume", *change)
            auditor.start()
            tail = ("audit", "tail", "--json", "--project", "p1")

            def recorded() -> list[dict[str, object]]:
                lines = auditor.site.run(*tail, exit_code=None).stdout.splitlines()
                return [json.loads(line)["record"]["data"] for line in lines]

            until(lambda: len(recorded()) == 2, "both are in the trail")
        found = recorded()
        assert {it["what"] for it in found} == {"key-suspended", "key-resumed"}
        assert all(it["who"] == {"kind": "operator", "name": "alice"} for it in found)
        assert all(it["reason"] == "leak" for it in found)
    finally:
        auditor.close()
