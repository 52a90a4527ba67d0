"""What the anchor has of commits and endings: the newest of all that anybody has kept."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from kmworker.errors import SetupError
from kmworker.worker.rollback import Anchor, Anchored, anchored_in


class Counted:
    """A store that counts."""

    def __init__(self, commits: int, endings: int) -> None:
        self.now = Anchored(commits, endings)

    def commits(self) -> int:
        return self.now.commits

    def endings(self) -> int:
        return self.now.endings

    def refuse_if_behind(self, anchored: int) -> None:
        if self.now.commits < anchored:
            raise SetupError("fewer commits")

    def refuse_if_endings_lack(self, anchored: int) -> None:
        if self.now.endings < anchored:
            raise SetupError("fewer endings")

    def lease(self, work: str, holder: str, seconds: float) -> bool:
        return bool(work and holder and seconds)


class Kept:
    """What the broker keeps."""

    def __init__(self, *bodies: bytes) -> None:
        self.bodies = list(bodies)

    def swap(self, choose: Callable[[list[bytes]], bytes]) -> None:
        self.bodies = [choose(self.bodies)]


def body(store: str = "ours", **numbers: Any) -> bytes:
    return json.dumps({**numbers, "store": [store]}).encode()


def anchor_of(kept: Kept, store: Any) -> Anchor:
    return Anchor(kept.swap, store, worker_id="w1", identity=lambda: ["ours"])


def test_both_numbers_are_kept_and_neither_moves_back() -> None:
    kept = Kept(body(commits=9, endings=1))
    anchor = anchor_of(kept, Counted(5, 4))
    anchor.record_if_new()
    assert anchored_in(kept.bodies, ["ours"]) == Anchored(9, 4)


def test_new_endings_alone_are_new() -> None:
    kept, store = Kept(), Counted(5, 4)
    anchor = anchor_of(kept, store)
    anchor.record()
    store.now = Anchored(5, 5)
    anchor.record_if_new()
    assert anchored_in(kept.bodies, ["ours"]) == Anchored(5, 5)


@pytest.mark.parametrize(
    ("numbers", "why"),
    [({"commits": 6, "endings": 4}, "commits"), ({"commits": 5, "endings": 5}, "endings")],
)
def test_a_store_that_has_fewer_of_either_is_refused(numbers: dict[str, int], why: str) -> None:
    with pytest.raises(SetupError, match=f"fewer {why}"):
        anchor_of(Kept(body("ours", **numbers)), Counted(5, 4)).check()


def test_by_a_persons_word_it_is_less() -> None:
    kept = Kept(body(commits=9, endings=7))
    anchor_of(kept, Counted(5, 4)).replace(Anchored(5))
    assert anchored_in(kept.bodies, ["ours"]) == Anchored(5, 0)


def test_what_an_older_release_has_kept_says_nothing_of_endings() -> None:
    assert anchored_in([body(commits=3)], ["ours"]) == Anchored(3, 0)


@pytest.mark.parametrize(
    "of_others",
    [
        b"", b"[]", b"{}", body(commits="x"), body(commits=1, endings="x"), body(endings=7),
        body("theirs", commits=8, endings=8),
    ],
)  # fmt: skip
def test_what_is_no_anchor_of_ours_says_nothing(of_others: bytes) -> None:
    kept = [of_others, body(commits=2, endings=1)]
    assert anchored_in(kept, ["ours"]) == Anchored(2, 1)
