"""A new identity takes the old one's place, and at no time is there none."""

from pathlib import Path

import pytest

from kmworker.delegation.identity import Identity
from kmworker.delegation.renewal import former_path, make_next, next_path, take_over
from kmworker.errors import SetupError
from tests.kit.delegation_vectors import AT


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Identity.generate(AT).write(tmp_path / "identity.json")
    return tmp_path / "identity.json"


def test_the_new_one_takes_over_and_the_old_one_stays_beside_it(path: Path) -> None:
    old = Identity.load(path).public
    new = make_next(path, AT).public
    assert Identity.load(path).public == old
    assert take_over(path).public == new == Identity.load(path).public
    assert Identity.load(former_path(path)).public == old
    assert sorted(it.name for it in path.parent.iterdir()) == ["identity.json",
                                                               "identity.json.former"]  # fmt: skip


def test_a_new_one_that_waits_already_is_kept(path: Path) -> None:
    waiting = make_next(path, AT).public
    with pytest.raises(SetupError, match="already exists"):
        make_next(path, AT)
    assert Identity.load(next_path(path)).public == waiting


def test_where_no_new_one_is_the_old_one_stays(path: Path) -> None:
    old = Identity.load(path).public
    with pytest.raises(SetupError, match="no such file"):
        take_over(path)
    assert Identity.load(path).public == old


def test_nothing_is_renewed_where_nothing_is(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no such file"):
        make_next(tmp_path / "identity.json", AT)


STEPS = ["unlink", "hardlink_to", "replace"]


@pytest.mark.parametrize("at", range(4))
def test_it_may_be_stopped_at_each_step_and_called_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    old, new = Identity.load(path).public, make_next(path, AT).public
    left = [at]

    def stopping(step: str) -> None:
        taken = getattr(Path, step)

        def take(*given: object, **named: object) -> object:
            if left[0] == 0:
                raise OSError(5, "Input/output error")
            left[0] -= 1
            return taken(*given, **named)

        monkeypatch.setattr(Path, step, take)

    with monkeypatch.context():
        for step in STEPS:
            stopping(step)
        with pytest.raises(SetupError, match="Input/output error") as refused:
            take_over(path)
        assert refused.value.hint
        assert Identity.load(path).public == old
    left[0] = 99
    assert take_over(path).public == new
    assert Identity.load(former_path(path)).public == old
