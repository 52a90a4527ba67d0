"""What a leg has beside it where keys are delivered: key servers, an auditor, a node that asks."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final

from tests.chaos.deliveries import NODE, Asker, Attacher
from tests.chaos.ground import Ground
from tests.chaos.keepers import Keepers
from tests.chaos.key_ends import KeyAmqpEnd
from tests.chaos.lives import Lives
from tests.chaos.lives_account import DESTROYED, KeyBook
from tests.kit.outside import check_keys
from tests.kit.outside.asking import host_of
from tests.kit.outside.delegating import POLICY, SHIPPED, Delegation, enrol, trusted
from tests.kit.outside.worker import Site, Worker, program

__all__ = ["DeliveryPart", "delegating_settings"]

EXPORTED: Final = 4


def delegating_settings(folder: Path) -> Mapping[str, str]:
    """Return what an installation is set to that delegates; its policy is put into a folder."""
    policy = folder / "delegating-policy.toml"
    policy.write_text(SHIPPED.read_text() + POLICY)
    return {
        "KMWORKER_POLICY__PATH": str(policy),
        "KMWORKER_KEYSERVER__IDENTITY": str(folder / "keyserver.json"),
        # What is refused is asked for all the time.
        "KMWORKER_KEYSERVER__WAIT_S": "0.1",
    }


class DeliveryPart:
    """All of it, from its founding to its end."""

    def __init__(self, ground: Ground, lives: Lives, end: KeyAmqpEnd, draw: Random) -> None:
        """Make root key, list and client, and start what is to run; faults come later."""
        site = ground.site
        installation = json.loads(site.run("trust", "show", "--json").stdout)["installation"]
        trusted(site, installation)
        made = Delegation(site, site.folder / "host", installation)
        made.host.mkdir()
        enrol(made, "--node", NODE, "--project", "*")
        site.run("auditor", "--init")
        draws = [Random(draw.random()) for _ in range(3)]
        self._site = site
        self._draw = draw
        self._auditor = _audited(site)
        self._servers = Keepers(site, draws[0], "keyserver")
        self._attacher = Attacher(end.new_line, end.heard, lives, lambda: ground.reader, draws[1])
        self._keys = host_of(made).keys()
        self._asker = Asker(self._keys, lives, self._attacher, draws[2])
        self.sides = (self._servers, self._attacher, self._asker)

    def kill(self) -> None:
        """End all processes, whatever has failed."""
        self._servers.kill()
        self._auditor.kill()
        self._keys.close()

    def rest(self) -> None:
        """Let nobody attach or ask any more."""
        self._attacher.close()
        self._asker.close()

    def unsettled(self) -> Iterator[str]:
        """What the store does not say yet of attachments."""
        yield from self._attacher.unsettled()

    def problems(self, book: KeyBook) -> Iterator[str]:
        """What was delivered, or refused, otherwise than it may be; nothing changes any more."""
        yield from self._asker.examine(book)
        self._servers.close()
        yield from self._asker.problems(self._trail())
        delivered = self._asker.book.keys
        if not delivered:
            yield "no key was delivered in all this time"
        there = [it for it in delivered if book.keys[it]["state"] != DESTROYED]
        for project, key_id in self._draw.sample(there, min(EXPORTED, len(there))):
            dek, _mode = check_keys.exported(self._site, project, key_id)
            if delivered[project, key_id] != {dek}:
                yield f"{key_id} was delivered otherwise than it is exported"

    def __str__(self) -> str:
        book = self._asker.book
        refused = ", ".join(f"{number} {reason}" for reason, number in sorted(book.refused.items()))
        return (
            f"{len(self._attacher.attachments)} attachments; {len(book.got)} keys delivered,"
            f" {refused or 'none refused'}, {book.unanswered} times no answer;"
            f" {self._servers.killed} key servers killed"
        )

    def _trail(self) -> str:
        """Stop the auditor, which has taken all by then; return the trail's export, verified."""
        self._auditor.stop()
        path = self._site.folder / "trail.jsonl"
        self._site.run("audit", "verify")
        self._site.run("audit", "export", "--output", str(path))
        self._site.run("audit", "verify", str(path))
        return path.read_text()


def _audited(site: Site) -> Worker:
    """Run an auditor."""
    own = {"KMWORKER_BROKER__URL": site.environment("auditor")["KMWORKER_BROKER__URL"]}
    changed = replace(site, settings={**site.settings, **own})
    return Worker(changed, [*program(), "auditor"])
