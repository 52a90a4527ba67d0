"""Playing rounds on a real installation: messages and commands at one time, and a worker's end."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from tests.kit.outside.lives import keys as states
from tests.kit.outside.lives import stored
from tests.kit.outside.lives.changed import OPERATOR, change_problems, seconds_of
from tests.kit.outside.lives.drawing import Drawer
from tests.kit.outside.lives.hearing import MARK, Ear, hearing
from tests.kit.outside.lives.outlook import Outlook
from tests.kit.outside.lives.told import Ledger
from tests.kit.outside.lives.world import Command, World
from tests.kit.outside.reader import Reader
from tests.kit.outside.wire import dressed, said
from tests.kit.outside.words import Item, Message
from tests.kit.outside.worker import Site, Worker, started, stop_together
from tests.kit.polling import none_of, until, until_none

AT_ONCE: Final = 2
MARKS: Final = "lives.marks"
"""A project that nothing else happens in: what is heard of it has been said after all the rest."""
TIMES: Final = {states.SOON: {"restore": "2s"}, states.LATER: {"restore": "30d", "destroy": "30d"}}


@dataclass(slots=True)
class Player:
    """An installation, the model of it, and what was heard of it."""

    site: Site
    ear: Ear
    ledger: Ledger
    workers: list[Worker]
    rng: Random
    drawer: Drawer
    world: World
    reader: Reader
    marks: int = 0

    def play(self, messages: int, commands: int, *, kill: bool = False) -> Outlook:
        """Draw a round, play it, and check all that comes of it."""
        outlook = self.drawer.draw(self.world, messages, commands)
        if kill:
            outlook = outlook.after_a_crash()
        self.ledger.expect(outlook)
        told = self._messages(outlook)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            obeyed = self._commands(outlook, pool)
            for number, message in enumerate(told):
                if kill and number == len(told) // 2:
                    self._replace_worker()
                self.ear.client.publish(message)
        none_of(_obedience_problems(outlook, obeyed))
        self._settle()
        self.check(outlook)
        return outlook

    def let_time_pass(self) -> Outlook:
        """Wait until all that is soon has come, and have a janitor go over it once."""
        after = self.world.next_round()
        after.pass_time()
        outlook = Outlook(
            self.world, after, frozenset(), frozenset(),
            {owner: key.changes for owner, key in after.keys.items()},
            {name: (number, number) for name, number in self.world.stats.items()}, (),
        )  # fmt: skip
        self._sleep_until_due()
        self.ledger.expect(outlook)
        done = json.loads(self.site.run("janitor", "--once", "--json").stdout)
        types = [it.type for key in after.keys.values() for it in key.changes]
        wanted = {"destroyed": types.count("key-destroyed"), "lapsed": len(types)}
        wanted["lapsed"] -= wanted["destroyed"]
        wanted |= {"put_right": 0, "forgotten": 0, "stopped": 0}
        assert done == wanted
        self.check(outlook)
        return outlook

    def check(self, outlook: Outlook) -> None:
        """Wait until all is as it must be, and take that for what is."""

        def problems() -> Iterator[str]:
            yield from self.ledger.problems()
            yield from change_problems(self.ledger, outlook)
            yield from stored.problems(outlook, self.ledger, self.reader)

        until_none(problems, between=self.ear.client.pump)
        self.world = stored.adopted(outlook, self.reader)
        known = self.ledger.key_ids()
        for owner, data in known.items():
            self.ledger.versions[owner] = len(self.ear.changes.get(data["key_id"], {})) + 1

    def key_id(self, owner: Item) -> str:
        return str(self.ledger.key_ids()[owner]["key_id"])

    def run(self, command: Command, exit_code: int | None = None) -> Any:
        """Do what a person does, with the account that may."""
        key_id, project = self.key_id(command.key), command.key.project
        words = ["key", "destroy" if command.what == "now" else command.what, key_id]
        words += ["--project", project, "--reason", command.reason, "--operator", OPERATOR]
        option = {"restore": "--for", "destroy": "--after"}.get(command.what)
        if (given := TIMES[command.time].get(command.what)) and option:
            words += [option, given]
        if command.what == "now":
            words += ["--now", "--again", key_id]
        if command.what == "compromise":
            words.append("--yes")
        return self.site.run(*words, "--json", exit_code=exit_code)

    # --- the parts of a round ---------------------------------------------------------

    def _messages(self, outlook: Outlook) -> list[Message]:
        """Each at least once, some twice, in whatever shape."""
        told = [
            dressed(it, self.rng) for it in outlook.actions if not isinstance(it, Command)
        ]  # fmt: skip
        told += self.rng.choices(told, k=len(told) // 4) if told else []
        self.rng.shuffle(told)
        return told

    def _commands(self, outlook: Outlook, pool: ThreadPoolExecutor) -> dict[Command, "Future[Any]"]:
        return {it: pool.submit(self.run, it) for it in outlook.actions if isinstance(it, Command)}

    def _replace_worker(self) -> None:
        self.workers.pop(0).kill()
        self.workers.append(Worker(self.site))

    def _settle(self) -> None:
        """Wait until all that was told has been taken up, and nothing may come again."""
        if len(self.workers) == 1:
            self._mark()
            return
        # One may be ahead of the other: what they have in hand is done when they have stopped.
        pump, count = self.ear.client.pump, len(self.workers)
        is_over = False
        while not is_over:
            until(self._is_taken, "all is taken", between=pump)
            stop_together(self.workers)
            is_over = self._is_taken()
            self.workers[:] = [started(self.site) for _ in range(count)]

    def _is_taken(self) -> bool:
        return self.ear.client.ready("events.work") == 0

    def _mark(self) -> None:
        """Wait until the worker has come to what is said now."""
        self.marks += 1
        volume = f"{MARK}{self.marks}"
        self.ear.client.publish(
            said("volume-created", volume, MARKS, volume_id=volume, encryption=None)
        )
        until(
            lambda: f"volume:{volume}" in self.reader.table(MARKS, "items"),
            "the worker has come to the end of the round",
            between=self.ear.client.pump,
        )

    def _sleep_until_due(self) -> None:
        moments = [time.time()]
        for owner, key in self.world.keys.items():
            if states.SOON in {key.due, key.until}:
                records = self.reader.records(owner.project, "keys")
                record = records[self.key_id(owner)]
                moments.append(seconds_of(record.get("destroy_at") or record["active_until"]))
        until(
            lambda: time.time() > max(moments) + 0.1,
            "all that is soon has come",
            between=self.ear.client.pump,
        )


def _obedience_problems(outlook: Outlook, obeyed: dict[Command, "Future[Any]"]) -> Iterator[str]:
    for command, future in obeyed.items():
        done, wanted = future.result(), 0 if outlook.world.results[command] else 1
        if done.returncode != wanted:
            yield f"{command} ended with {done.returncode}, not {wanted}:\n{done.stderr}"
        elif wanted == 0 and command.what != "compromise":
            told = json.loads(done.stdout)
            key = outlook.world.keys[command.key]
            if outlook.changes[command.key] is not None and told["state"] != key.state:
                yield f"{command} said {told}, and it is {key.state}"


@contextmanager
def playing(site: Site, seed: int, workers: int = 1) -> Iterator[Player]:
    """Provide a player with workers, who listens before anything is said."""
    rng = Random(seed)
    with hearing(site) as ear:
        working = [started(site) for _ in range(workers)]
        player = Player(site, ear, Ledger(ear), working, rng, Drawer(rng), World(), site.reader)
        try:
            yield player
            stop_together(player.workers)
        except BaseException as error:
            for worker in player.workers:
                error.add_note(worker.tail())
            raise
        finally:
            for worker in player.workers:
                worker.kill()
