"""Those who look after keys beside the workers: processes, who come to grief, and two people."""

import json
import signal
import subprocess
from pathlib import Path
from random import Random
from typing import Final
from uuid import uuid4

from tests.chaos.annals import Annals
from tests.kit.outside.worker import STOP_S, Site, program
from tests.kit.parties.sides import Side

EACH: Final = 2
# From one mishap of a process's to the next, and how long one stands still.
MISHAP_S: Final = (2.0, 8.0)
STILL_S: Final = 2.0
KILLED_SHARE: Final = 0.5
# It has found its store after about a second.
KILLED_AFTER_S: Final = (0.6, 2.0)
THINKING_S: Final = (0.2, 1.0)
# What the store's absence may do to a command: done, refused, or nobody knows.
ENDINGS: Final = (0, 1, 3)
VERBS: Final = {"suspend": 4, "resume": 4, "restore": 3, "destroy": 3, "now": 2, "compromise": 1}


class Nothing:
    """No line is needed."""

    def close(self) -> None:
        """There is nothing to leave."""


class Keepers(Side[Nothing]):
    """Two processes of one kind, of which one is killed or held now and then."""

    def __init__(self, site: Site, draw: Random, command: str) -> None:
        super().__init__(Nothing, f"{command}s")
        self._site = site
        self._draw = draw
        self._command = command
        self._youngest = 0
        self._running = [self._started() for _ in range(EACH)]
        self.killed = 0

    def close(self) -> None:
        """End all; each has to end cleanly."""
        try:
            super().close()
            self._check()
            for process, log in self._running:
                process.send_signal(signal.SIGTERM)
                code = process.wait(STOP_S)
                # One that has only just been started does not listen yet.
                wanted = {0, -signal.SIGTERM} if process.pid == self._youngest else {0}
                assert code in wanted, f"SIGTERM ended a {self._command} with {code}:\n{_tail(log)}"
        finally:
            self.kill()

    def kill(self) -> None:
        for process, _log in self._running:
            process.kill()
            process.wait(STOP_S)

    def _turn(self, line: Nothing) -> None:
        del line
        self._over.wait(self._draw.uniform(*MISHAP_S))
        self._check()
        number = self._draw.randrange(EACH)
        process, _log = self._running[number]
        if self._draw.random() < KILLED_SHARE:
            process.kill()
            process.wait(STOP_S)
            self._running[number] = self._started()
            self.killed += 1
            return
        process.send_signal(signal.SIGSTOP)
        self._over.wait(STILL_S)
        process.send_signal(signal.SIGCONT)

    def _check(self) -> None:
        for process, log in self._running:
            code = process.poll()
            assert code is None, f"a {self._command} ended with {code}:\n{_tail(log)}"

    def _started(self) -> "tuple[subprocess.Popen[bytes], Path]":
        log = self._site.folder / f"{self._command}-{uuid4().hex[:6]}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*program(), self._command],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                env=self._site.environment(self._command), cwd=self._site.folder,
            )  # fmt: skip
        self._youngest = process.pid
        return process, log


class Operator(Side[Nothing]):
    """A person who changes the states of keys, of whichever there are."""

    def __init__(self, site: Site, heard: Annals, draw: Random) -> None:
        super().__init__(Nothing, "operator")
        self._site = site
        self._heard = heard
        self._draw = draw
        self.done: dict[tuple[str, int], str] = {}
        """What a command said that it did, by key-id and version."""

    def _turn(self, line: Nothing) -> None:
        del line
        self._over.wait(self._draw.uniform(*THINKING_S))
        known = [it for it in list(self._heard.assigned.values()) if it["key_id"] is not None]
        if not known:
            return
        verb = self._draw.choices(list(VERBS), list(VERBS.values()))[0]
        self._do(verb, self._draw.choice(known))

    def _do(self, verb: str, of: dict[str, str]) -> None:
        key_id, project = of["key_id"], of["project_id"]
        options = {
            "restore": ["--for", f"{self._draw.randint(1, 15)}s"],
            "destroy": ["--after", "1s"],
            "now": ["--now", "--again", key_id],
            "compromise": ["--yes"],
        }
        command = "destroy" if verb == "now" else verb
        ended = self._site.run(
            "key", command, key_id, "--project", project, "--reason", "chaos", "--json",
            *options.get(verb, ()), exit_code=None,
        )  # fmt: skip
        said = f"key {command} {key_id}: {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        assert ended.returncode in ENDINGS, said
        if ended.returncode == 0 and verb != "compromise":
            document = json.loads(ended.stdout)
            self.done[key_id, document["version"]] = document["event"]


class KekTurner(Side[Nothing]):
    """A person who turns one KEK over after the other, and whose rewraps are killed now and then.

    Attributes:
        turned: how many KEKs nothing is under any more.
        killed: how many rewraps were.
    """

    def __init__(self, site: Site, draw: Random) -> None:
        super().__init__(Nothing, "KEK turner")
        self._site = site
        self._draw = draw
        self.turned = 0
        self.killed = 0
        self._is_begun = False
        self._said = ""

    def finish(self) -> list[str]:
        """Turn one over to its end; return what keeps it, in words."""
        is_over = self._turn_over(may_kill=False)
        return [] if is_over else [f"no KEK is turned over: {self._said}"]

    def _turn(self, line: Nothing) -> None:
        del line
        self._over.wait(self._draw.uniform(*THINKING_S))
        self._turn_over(may_kill=True)

    def _turn_over(self, *, may_kill: bool) -> bool:
        """Go on with the one under way, or begin with another; return whether it is over."""
        states = self._states()
        if states is None:
            return False
        known = [kek_id for kek_id, state in states.items() if state == "known"]
        if not known:
            self._done("keyring", "add")
            return False
        # The newest of those that are not active is to be; what was active before is to go.
        if self._is_begun:
            return self._go_on(known[0], may_kill=may_kill)
        self._is_begun = self._done("keyring", "activate", known[0])
        return False

    def _go_on(self, old: str, *, may_kill: bool) -> bool:
        if may_kill and self._draw.random() < KILLED_SHARE:
            self._kill_a_rewrap()
            return False
        if not self._done("rewrap") or not self._done("keyring", "retire", old):
            return False
        self._is_begun = False
        self.turned += 1
        return True

    def _states(self) -> dict[str, str] | None:
        ended = self._site.run("keyring", "status", "--json", exit_code=None)
        assert ended.returncode in ENDINGS, f"keyring status: {ended.stdout}{ended.stderr}"
        if ended.returncode:
            return None
        return {it["kek_id"]: it["state"] for it in json.loads(ended.stdout)["keks"]}

    def _done(self, *command: str) -> bool:
        """Run a command; return whether it did what it was asked for."""
        why = () if command == ("rewrap",) else ("--reason", "chaos")
        ended = self._site.run(*command, *why, exit_code=None)
        said = f"{command}: {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        assert ended.returncode in ENDINGS, said
        assert "not authentic" not in ended.stderr, said
        self._said = said
        return ended.returncode == 0

    def _kill_a_rewrap(self) -> None:
        process = subprocess.Popen(
            [*program(), "rewrap", "--throttle", "200"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=self._site.environment("rewrap"), cwd=self._site.folder,
        )  # fmt: skip
        self._over.wait(self._draw.uniform(*KILLED_AFTER_S))
        process.kill()
        process.wait(STOP_S)
        self.killed += 1


def _tail(log: Path) -> str:
    return log.read_bytes()[-4000:].decode(errors="replace")
