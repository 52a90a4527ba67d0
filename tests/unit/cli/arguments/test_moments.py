"""Times as people type them."""

from typing import Any

import pytest

from kmworker.cli.arguments import moments
from kmworker.cli.arguments.moments import age_option, moment_option
from kmworker.cli.frame.exits import UsageError

NOW_S = 1_795_449_600.0


@pytest.fixture(autouse=True)
def _at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "time", lambda: NOW_S)


@pytest.mark.parametrize(
    ("text", "age_s"),
    [("90s", 90), ("30min", 1800), ("2h", 7200), ("1.5h", 5400), ("7d", 604_800), (" 2 h", 7200)],
)
def test_an_age_has_a_unit_and_is_a_moment_too(text: str, age_s: float) -> None:
    assert age_option("--older-than", text) == age_s
    assert moment_option("--since", text) == NOW_S - age_s


def test_what_is_not_given_is_none() -> None:
    assert age_option("--older-than", None) is None
    assert moment_option("--since", None) is None


def test_a_moment_is_taken_as_it_is() -> None:
    assert moment_option("--since", "2026-11-23T16:00:01Z") == NOW_S + 1


@pytest.mark.parametrize("text", ["", "7", "-2h", "2m", "2 weeks", "1e3s", "soon", "9" * 10 + "s"])
def test_what_could_be_meant_in_two_ways_is_refused(text: str) -> None:
    refusal: Any = UsageError
    with pytest.raises(refusal, match="--older-than"):
        age_option("--older-than", text)
    if text != "9" * 10 + "s":
        with pytest.raises(refusal, match="--since"):
            moment_option("--since", text)
