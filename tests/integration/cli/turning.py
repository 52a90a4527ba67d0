"""What a key operator does to have a KEK turned over, with a keyring file of their own."""

import json
import shutil
from typing import Any, Final

from tests.integration.cli.test_events import volume
from tests.kit.outside.worker import Site, Worker
from tests.kit.polling import until

__all__ = ["WHY", "bring", "kek_ids_of_live", "states", "tell", "turned_over", "under"]

P: Final = "p1"
WHY: Final = ("--operator", "alice", "--reason", "yearly")


def tell(site: Site, *names: str) -> None:
    """Have volumes created."""
    lines = "".join(volume(name, P) for name in names)
    site.run("publish", "--file", "-", stdin=lines)
    until(lambda: site.reader.table(P, "items").keys() >= {f"volume:{it}" for it in names}, "all")


def states(site: Site) -> dict[str, Any]:
    """By the store, of each KEK."""
    document = json.loads(site.run("keyring", "status", "--json").stdout)
    return {it["kek_id"]: it["state"] for it in document["keks"]}


def under(site: Site, kek_id: str) -> set[str]:
    """The volumes whose records are under a KEK."""
    raw = site.reader.table(P, "items")
    return {name for name, record in raw.items() if f'"v2.{kek_id}.' in str(record)}


def bring(office: Site, site: Site) -> None:
    """Carry the operator's file to where the worker runs, as one does: whole, by a rename."""
    new = site.keyring.with_suffix(".new")
    shutil.copy2(office.keyring, new)
    new.replace(site.keyring)


def kek_ids_of_live(site: Site) -> str:
    """What workers say that they have."""
    status = json.loads(site.run("status", "--json").stdout)
    return " ".join(it for worker in status["workers"] for it in worker["kek_ids"])


def turned_over(site: Site, office: Site, *workers: Worker) -> str:
    """Have another KEK active, and these workers write under it; return its kek_id."""
    new = office.run("keyring", "add", *WHY).stdout.strip()
    bring(office, site)
    until(lambda: new in kek_ids_of_live(site), "the worker has taken it up")
    office.run("keyring", "activate", new, *WHY)
    for worker in workers:
        until(lambda it=worker: "KEK active" in it.log.read_text(), "it writes under it")  # type: ignore[misc]
    return new
