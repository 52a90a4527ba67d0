"""A leg in which things also go: deletions, janitors and people beside the faults.

Its deadline is small and keys are destroyed as soon as that has passed, so that they really are.
Its history is blank volumes: nothing in it waits for anything.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.chaos.delegation import DeliveryPart, delegating_settings
from tests.chaos.keepers import Keepers, KekTurner, Operator
from tests.chaos.key_ends import KeyAmqpEnd, KeyStreamsEnd
from tests.chaos.leg import PATIENCE_S, Leg
from tests.chaos.lives import Lives
from tests.chaos.lives_account import KeyBook, haste
from tests.kit.outside import check_dashboards, check_keys
from tests.kit.outside.check import Scene
from tests.kit.outside.history import History, history
from tests.kit.outside.words import Event, Item
from tests.kit.outside.worker import stop_together
from tests.kit.parties.sides import Side
from tests.kit.polling import none_of, until, until_none

DEADLINE_S: Final = 8
SETTINGS: Final = {
    "KMWORKER_WAITING__DEADLINE_S": str(DEADLINE_S),
    "KMWORKER_RETENTION__DESTROY_AFTER_DAYS": "0",
    "KMWORKER_JANITOR__EVERY_S": "1",
    "KMWORKER_JANITOR__PAUSE_MS": "0",
}
EXPORTED: Final = 4


def settings_in(folder: Path, kind: str) -> Mapping[str, str]:
    """Return what an installation of this kind is set to; files of it are put into the folder."""
    # In the streams, whoever may publish is whoever he says he is.
    return SETTINGS if kind == "streams" else {**SETTINGS, **delegating_settings(folder)}


def blank_volumes(number: int) -> History:
    """Return a history in which nothing waits, nor is refused."""
    items = [Item("blank", "volume", f"b{at}") for at in range(number)]
    return history([Event(item, f"blank-{item.id}", "/blank") for item in items])


@dataclass
class LivesLeg(Leg):
    """The same leg, with all of this beside it."""

    _lives: Lives = field(init=False)
    _janitors: Keepers = field(init=False)
    _operator: Operator = field(init=False)
    _turner: KekTurner = field(init=False)
    _part: DeliveryPart | None = field(init=False, default=None)
    """None: keys are not delivered here."""

    def run(self, *, keys: bool) -> None:
        """Have them begin, and do as any leg does."""
        ground, end = self.ground, self._end
        draws = [Random(self.draw.random()) for _ in range(5)]
        self._lives = Lives(end.new_line, end.heard, draws[0])
        self._operator = Operator(ground.site, end.heard, draws[1])
        self._janitors = Keepers(ground.site, draws[2], "janitor")
        self._turner = KekTurner(ground.site, draws[3])
        sides: list[Side[Any]] = [self._lives]
        try:
            self._lives.start()
            if isinstance(end, KeyAmqpEnd):
                # A key server waits for a store that is used, longer and longer.
                until(lambda: end.heard.assigned, "a worker has used the store")
                self._part = DeliveryPart(ground, self._lives, end, draws[4])
                sides += self._part.sides
            sides += [self._operator, self._janitors, self._turner]
            for side in sides[1:]:
                side.start()
            super().run(keys=keys)
        finally:
            for side in sides:
                side.leave()
            self._janitors.kill()
            if self._part is not None:
                self._part.kill()

    @property
    def _end(self) -> KeyAmqpEnd | KeyStreamsEnd:
        assert isinstance(self.ground.end, KeyAmqpEnd | KeyStreamsEnd)
        return self.ground.end

    def _settle(self, told: History) -> None:
        # So that nothing is on its way when the queues are to be empty.
        self._lives.rest()
        super()._settle(told)
        self._lives.go_on()

    def _check(self, scene: Scene, *, keys: bool) -> None:
        self._lives.rest()
        if self._part is not None:
            self._part.rest()
        self._operator.close()
        self._turner.close()
        self._await(self._turner.finish)
        self._await(self._lives.unsettled)
        none_of(self._lives.problems())
        self._await(self._unfinished)
        self._lives.close()
        self._janitors.close()
        book = self._book()
        none_of(haste(self._end.heard.changes, DEADLINE_S))
        none_of(self._unsaid_commands())
        none_of(self._delivery_problems(book))
        if keys:
            self._check_keys(book)
        self._note()
        none_of(scene.announcement_problems())
        stop_together(self.ground.workers)
        none_of(scene.unsettled())
        none_of(scene.store_problems())
        none_of(check_dashboards.open_key_problems(scene.reader))
        none_of(self._findings())
        self._check_restarts(scene)

    def _delivery_problems(self, book: KeyBook) -> Iterator[str]:
        if self._part is not None:
            self._await(self._part.unsettled)
            yield from self._part.problems(book)
            self.say(f"  {self._part}")

    def _await(self, problems: Callable[[], object]) -> None:
        until_none(problems, within_s=PATIENCE_S, between=self.ground.end.pump)  # type: ignore[arg-type]

    def _book(self) -> KeyBook:
        return KeyBook(self.ground.reader, self._lives.projects)

    def _unfinished(self) -> list[str]:
        none_of(self.ground.ended())
        book = self._book()
        # Nothing mends this.
        none_of(book.losses())
        return [
            *book.undone(),
            *(f"still in an outbox: {it}" for it in book.left_in_outboxes),
            *self._end.heard.gaps(book.versions()),
            *self._untold(book),
            *book.leftovers(),
        ]

    def _untold(self, book: KeyBook) -> list[str]:
        """Name each key-id of which the last that was said is not what it is."""
        changes = self._end.heard.changes
        return [
            f"{key_id} is {state}, and was last said to be {last['state']}"
            for key_id, state in book.states().items()
            if changes[key_id] and (last := changes[key_id][max(changes[key_id])])["state"] != state
        ]

    def _unsaid_commands(self) -> list[str]:
        """Name each change that a command said was made, and that was not announced so."""
        changes = self._end.heard.changes
        return [
            f"{key_id}, version {version}: {event} was made, and not announced"
            for (key_id, version), event in self._operator.done.items()
            if changes[key_id].get(version, {}).get("type") != f"{event}"
        ]

    def _findings(self) -> list[str]:
        """Return what the product's own check finds."""
        told = self.ground.site.run("verify", "--json", exit_code=None).stdout
        *found, summary = map(json.loads, told.splitlines())
        assert summary["complete"]
        return [f"verify: {it}" for it in found]

    def _check_keys(self, book: KeyBook) -> None:
        """Take some of the keys out that somebody holds, and none that is destroyed."""
        held = list(book.holders)
        for project, key_id in self.draw.sample(held, min(EXPORTED, len(held))):
            dek, _mode = check_keys.exported(self.ground.site, project, key_id)
            assert dek
        gone = [it for it, record in book.keys.items() if record["state"] == "destroyed"]
        assert gone, "nothing was destroyed in all this time"
        project, key_id = self.draw.choice(gone)
        path = str(self.ground.site.folder / "none")
        self.ground.site.run(
            "key", "export", key_id, "--project", project, "--output", path, exit_code=1
        )

    def _note(self) -> None:
        types = self._end.heard.types()
        told = ", ".join(f"{number} {name}" for name, number in sorted(types.items()))
        killed = f"{self._janitors.killed} janitors and {self._turner.killed} rewraps killed"
        turned = f"{self._turner.turned} KEKs turned over"
        self.say(f"  {len(self._lives.lives)} lives; {told}; {turned}; {killed}")
        self.account.keys.update(types)
        self.account.lives += len(self._lives.lives)
