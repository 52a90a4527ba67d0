"""One tenant's flood is its own: what has no room says so, and nobody else waits for it."""

import time
from typing import Any

from tests.kit.outside.client import Client
from tests.kit.outside.wire import said
from tests.kit.outside.words import Message
from tests.kit.outside.worker import Site, started
from tests.kit.polling import until

FLOOD = 2_050
HONEST = 40


def event(name: str, project: str, **data: Any) -> Message:
    return said("volume-created", f"{project}-{name}", project, volume_id=name, **data)


def snapshot(name: str, volume: str, project: str) -> Message:
    return said("snapshot-taken", name, project, snapshot_id=name, volume_id=volume)


def absent(number: int) -> dict[str, str]:
    return {"kind": "volume", "id": f"absent{number}", "project_id": "victim"}


def reasons(client: Client) -> list[str]:
    return [str(letter.headers["x-kmworker-reason"]) for letter in client.letters]


def test_events_that_name_another_tenants_absent_volumes_stop_nobody(site: Site) -> None:
    workers = [started(site) for _ in range(2)]
    try:
        with site.client() as client:
            slowest_s = 0.0
            wanted: set[str] = set()
            for number in range(FLOOD):
                client.publish(event(f"v{number}", "flood", source=absent(number)))
                if number % (FLOOD // HONEST):
                    continue
                for project in ("victim", "third"):
                    client.publish(event(f"own{number}", project))
                    wanted.add(f"{project}/volume:own{number}")
                began = time.monotonic()
                client.await_announced(wanted, within_s=20)
                slowest_s = max(slowest_s, time.monotonic() - began)

            def all_refused() -> bool:
                client.pump()
                return len(client.refused()) >= FLOOD - 1000

            until(all_refused, "what has no room is refused")
            assert set(reasons(client)) == {"no-room"}
            assert len(client.refused()) == FLOOD - 1000
            detail = "1,000 events of project flood wait for items of project victim"
            for letter in client.letters:
                assert letter.headers["x-kmworker-detail"] == f"{detail} (waiting.foreign_max)"
            # Each round of them, as the client sees it: seconds only on a machine that is busy.
            assert slowest_s < 20
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.wait()


def test_a_project_whose_room_is_full_goes_on_and_what_had_no_room_is_replayed(site: Site) -> None:
    site.settings["KMWORKER_WAITING__MAX"] = "3"
    worker = started(site)
    try:
        with site.client() as client:
            numbers = range(1, 5)
            for number in numbers:
                client.publish(snapshot(f"s{number}", f"v{number}", "big"))

            def one_is_refused() -> bool:
                client.pump()
                return bool(client.letters)

            # In one batch with their volumes, none of them would have to wait.
            until(one_is_refused, "the fourth finds no room")
            for number in numbers:
                client.publish(event(f"v{number}", "big"))
            wanted = {f"big/volume:v{n}" for n in range(1, 5)}
            wanted |= {f"big/snapshot:s{n}" for n in range(1, 4)}
            # All else is assigned at once.
            client.await_announced(wanted, within_s=20)
            (letter,) = client.letters
            assert letter.headers["x-kmworker-reason"] == "no-room"
            assert letter.headers["x-kmworker-event-id"] == "s4"
            until(lambda: client.ready("dead") or None, "the letter is there")
            site.run("dead", "replay", "--reason", "no-room")
            wanted.add("big/snapshot:s4")
            client.await_announced(wanted, within_s=20)
            assert site.run("verify").stdout.startswith("looked at")
    finally:
        worker.process.kill()
        worker.process.wait()
