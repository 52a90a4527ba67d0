"""Playing a history: send it, wait until it has settled, send the rest."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from tests.kit.outside.check import Scene
from tests.kit.outside.history import History, Sent, history
from tests.kit.outside.words import Event, Item
from tests.kit.outside.worker import Site
from tests.kit.polling import none_of, until_none


@contextmanager
def scene(site: Site, told: History, *, exactly: bool = True) -> Iterator[Scene]:
    """Bind our queues before anything is said, so that nothing is missed."""
    with site.client() as client:
        yield Scene(site, client, site.reader, told, exactly)


def send(played: Scene, part: tuple[Sent, ...]) -> None:
    for sent in part:
        played.client.publish(sent.message)


def settle(played: Scene) -> None:
    until_none(played.unsettled, between=played.client.pump)


def perform(played: Scene, interlude: Callable[[], None] | None = None) -> None:
    """Play both parts. Half-way through the first, something else may happen."""
    first, later = played.history.first, played.history.later
    half = len(first) // 2
    send(played, first[:half])
    if interlude is not None:
        interlude()
    send(played, first[half:])
    settle(replace(played, history=played.history.opening))
    before = {subject: len(heard) for subject, heard in played.client.announced().items()}
    send(played, later)
    settle(played)
    until_none(lambda: unrepeated(played, before), between=played.client.pump)


def unrepeated(played: Scene, before: dict[str, int]) -> Iterator[str]:
    """Which items should have been announced again, and were not."""
    heard = played.client.announced()
    for subject in {item.subject for item in _repeated(played)}:
        if len(heard.get(subject, ())) <= before.get(subject, 0):
            yield f"{subject} was not announced again"


def _repeated(played: Scene) -> Iterator[Item]:
    announced = played.announced
    for event in played.history.repeats:
        if event.item in announced:
            yield event.item
        # The event that brought a partition about repeats both of its assignments.
        if event.source in announced and _is_cause(event, announced[event.source]):
            yield event.source


def _is_cause(event: Event, data: dict[str, Any]) -> bool:
    cause = data["cause"]
    return event.cause == (cause["id"], cause["source"], cause["type"])


@contextmanager
def performed(site: Site, first: list[Event], later: list[Event] | None = None) -> Iterator[Scene]:
    """Play a small history on a shared installation, and check what it leaves behind."""
    with scene(site, history(first, later or ())) as played:
        perform(played)
        none_of(played.announcement_problems())
        until_none(played.store_problems, within_s=5, between=played.client.pump)
        yield played


def seeds(*usual: int) -> list[int]:
    """The usual seeds, and those that `KMWORKER_TEST_SEED` adds (`7` or `7,8`)."""
    added = os.environ.get("KMWORKER_TEST_SEED", "")
    return list(dict.fromkeys([*usual, *(int(seed) for seed in added.split(",") if seed)]))


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Name the seed in whatever goes wrong."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"to see this again: KMWORKER_TEST_SEED={seed}")
        raise
