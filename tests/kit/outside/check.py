"""Everything that the contract says of what a history leaves behind."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.kit.outside import (
    check_assignments,
    check_dashboards,
    check_keys,
    check_letters,
    check_records,
)
from tests.kit.outside.heard import Outside
from tests.kit.outside.history import History
from tests.kit.outside.reader import Reader
from tests.kit.outside.words import Item
from tests.kit.outside.worker import Site, Worker
from tests.kit.polling import none_of, until_none


@dataclass(frozen=True, slots=True)
class Scene:
    """An installation, what it was told, and what has been heard of it since."""

    site: Site
    client: Outside
    reader: Reader
    history: History
    exactly: bool = True
    """No worker was killed, so that nothing had to be counted or refused twice."""

    @property
    def announced(self) -> dict[Item, dict[str, Any]]:
        found = self.client.announced()
        return {
            item: found[item.subject][0].parsed()["data"]
            for item in self.history.outlook.assigned
            if item.subject in found
        }

    def unsettled(self) -> Iterator[str]:
        """What is still to come."""
        outlook = self.history.outlook
        yield from check_assignments.missing(outlook, self.client.announced())
        yield from check_letters.missing_letters(self.history, self.client.refused())
        yield from check_records.room_problems(outlook, self.reader)
        if ready := self.client.ready("events.work"):
            yield f"{ready} messages in the work queue"

    def announcement_problems(self) -> Iterator[str]:
        heard = self.client
        yield from check_assignments.assignment_problems(self.history.outlook, heard.announced())
        yield from check_letters.letter_problems(
            self.history, heard.refused(), exactly=self.exactly
        )

    def store_problems(self) -> Iterator[str]:
        yield from check_records.record_problems(self.history.outlook, self.announced, self.reader)

    def dashboard_problems(self, workers: list[Worker]) -> Iterator[str]:
        """What is not yet right with the numbers that are gathered now and then."""
        reader, heard = self.reader, self.client
        pids = {worker.process.pid for worker in workers}
        yield from check_dashboards.total_problems(self.history.outlook, reader)
        yield from check_dashboards.dead_problems(heard.letters, reader, exactly=self.exactly)
        yield from check_dashboards.queue_problems(heard, reader, len(workers))
        yield from check_dashboards.worker_problems(reader, pids)
        if self.exactly:
            yield from check_dashboards.feed_problems(heard.announced(), len(heard.letters), reader)

    def check_while_working(self, workers: list[Worker]) -> None:
        """Check what is there, then what has to get there while the workers run."""
        none_of(self.announcement_problems())
        until_none(self.store_problems, within_s=5, between=self.client.pump)
        until_none(lambda: self.dashboard_problems(workers), between=self.client.pump)

    def check_after_work(self, rng: Random) -> None:
        """Check the whole once more with nobody at work, and take out some of the keys."""
        self.check_at_rest()
        self.check_keys(rng)

    def check_at_rest(self) -> None:
        """Check all that is there when nobody is at work."""
        until_none(self.unsettled, within_s=5, between=self.client.pump)
        none_of(self.announcement_problems())
        none_of(self.store_problems())
        none_of(check_dashboards.minute_problems(self.reader))
        none_of(check_dashboards.open_key_problems(self.reader))
        self.verify()

    def verify(self) -> None:
        """Have the product's own check find nothing wrong."""
        summary = json.loads(self.site.run("verify", "--json").stdout)
        assert summary["complete"]
        assert summary["findings"] == 0
        assert summary["looked_at"] >= len(self.history.outlook.assigned)

    def check_keys(self, rng: Random) -> None:
        chosen = check_keys.sample(self.announced, rng)
        deks, problems = check_keys.exports(self.site, chosen)
        none_of(problems)
        none_of(check_keys.sharing_problems(chosen, deks))
        heard = [*self.client.assignments, *self.client.letters]
        none_of(check_keys.leak_problems(self.site, deks, heard))
