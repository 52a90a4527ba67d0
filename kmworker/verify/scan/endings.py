"""What has ended: the chain of each project and of the clients, and the records that they end."""

from collections.abc import Iterator, Mapping
from typing import Final

from kmworker.domain.endings import Chain
from kmworker.domain.model import Place
from kmworker.store.inspection import Views, pages
from kmworker.store.projectless import Projectless, projectless_records
from kmworker.store.reading import PAGE_SIZE, StoreReader
from kmworker.store.records import CLIENTS, ENDINGS, TRUST
from kmworker.verify.rules.endings import entry_findings, older_finding
from kmworker.verify.rules.findings import Finding
from kmworker.verify.rules.opened import Flawed, Sound, flaw_at
from kmworker.verify.scan.opening import Opening
from kmworker.verify.scan.stages import CheckedPage

__all__ = ["EndingsStage", "projectless_findings"]

RECORDS: Final = ("grants", "keys")
"""Of a project, what can be ended, by the first word of what it is called in a chain."""


class EndingsStage:
    """Reads a project's chain, and after it the records that it ends: they are newer by then."""

    name = "endings"
    keys = ("endings", *RECORDS)

    def __init__(self, reader: StoreReader, opening: Opening) -> None:
        self._reader = reader
        self._opening = opening

    def run(self, project: str, cursor: int) -> Iterator[CheckedPage]:
        """Check; always from the beginning: an entry is judged by all that are before it."""
        del cursor
        chain, is_whole = Chain(), True
        for page in self._reader.all(project, "endings"):
            findings: list[Finding] = []
            for _at, raw in page:
                if is_whole:
                    opened = self._opening.ending(project, raw)
                    findings += entry_findings(chain, project, opened)
                    # What follows it can follow nothing.
                    is_whole = not findings
            yield CheckedPage(0, len(page), findings)
        for things in pages(sorted(chain.versions), PAGE_SIZE):
            found = list(self._older(project, {it: chain.versions[it] for it in things}))
            yield CheckedPage(0, 0, found)

    def _older(self, project: str, ended_by: Mapping[str, int]) -> Iterator[Finding]:
        for key in RECORDS:
            words = (it.partition(" ") for it in ended_by)
            names = {name: ended_by[f"{of} {name}"] for of, _space, name in words if of == key}
            for name, raw in self._reader.fetch(project, {key: names})[key].items():
                own = self._version(project, key, name, raw)
                # What is flawed another stage has told of; what is not there is forgotten.
                if own is not None and own < names[name]:
                    yield older_finding(Place(project, key, name), own, names[name])

    def _version(self, project: str, key: str, name: str, raw: bytes | None) -> int | None:
        if key == "grants":
            grants = self._opening.grants(project, name, raw)
            return grants.value.version if isinstance(grants, Sound) else None
        of_key = self._opening.key(project, name, raw)
        return of_key.value.version if isinstance(of_key, Sound) else None


def projectless_findings(views: Views, opening: Opening) -> Iterator[Finding]:
    """Judge clients, what of theirs has ended, and the trust list."""
    versions: dict[str, int] = {}
    records = list(projectless_records(views))
    for it in records:
        if it.place.key == CLIENTS:
            own = opening.client(it.name, it.record)
            if isinstance(own, Sound):
                versions[it.name] = own.value.version
            elif isinstance(own, Flawed):
                yield flaw_at(it.place, own)
        elif it.place.key == TRUST and isinstance(flaw := opening.trust(it.record), Flawed):
            yield flaw_at(it.place, flaw)
    yield from _of_clients([it for it in records if it.place.key == ENDINGS], versions, opening)


def _of_clients(
    entries: list[Projectless], versions: Mapping[str, int], opening: Opening
) -> Iterator[Finding]:
    chain = Chain()
    for it in entries:
        found = list(entry_findings(chain, "", opening.ending("", it.record)))
        yield from found
        if found:
            break
    for thing, version in sorted(chain.versions.items()):
        name = thing.partition(" ")[2]
        if name in versions and versions[name] < version:
            yield older_finding(Place("", CLIENTS, name), versions[name], version)
