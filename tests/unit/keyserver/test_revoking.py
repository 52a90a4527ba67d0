"""Who is to give up a copy: what has ended is looked up, and no message is believed."""

from dataclasses import replace
from typing import Any, Final

import pytest

from kmworker.delegation.clients import ClientRecord
from kmworker.domain.model import KeyState, Kind
from kmworker.domain.policy_tables import matches_any
from kmworker.keyserver.ports import Copy, FoundKey
from kmworker.keyserver.revoking import revocation_id, revoked_copy
from kmworker.wire.answers.messages import Revoking
from kmworker.wire.ended import RightEnded
from tests.kit.builders import held, released
from tests.kit.published_schemas import schema_of
from tests.unit.keyserver.world import CLIENT, KEY_ID, MARK, NAME, V, key_of, live, over

NOW_S: Final = 1_800_000_000.0
COPY: Final = Copy(V.project, KEY_ID, NAME, V, NOW_S + 3600)
DETACHED: Final = RightEnded("d1", V.project, Revoking.DETACHED, None, V, "a1")
SUSPENDED: Final = RightEnded("s1", V.project, Revoking.SUSPENDED, KEY_ID, None)
RELEASED: Final = RightEnded("r1", V.project, Revoking.RELEASED, KEY_ID, V)
REVOKED_CLIENT: Final = replace(CLIENT, revoked=MARK)


def cause(
    found: FoundKey,
    ended: RightEnded = DETACHED,
    copy: Copy = COPY,
    client: ClientRecord | None = CLIENT,
) -> Revoking | None:
    revoked = revoked_copy(copy, ended, client, found, NOW_S)
    if revoked is None:
        return None
    assert (revoked.project, revoked.item, revoked.key_id) == (V.project, copy.item, KEY_ID)
    assert revoked.attachment_id == ("a1" if revoked.cause is Revoking.DETACHED else None) or (
        ended is not DETACHED
    )
    return revoked.cause


@pytest.mark.parametrize("ended", [DETACHED, SUSPENDED, RELEASED], ids=lambda it: it.cause.value)
def test_who_may_have_it_still_gives_up_nothing_whatever_is_said(ended: RightEnded) -> None:
    assert cause(key_of(held(V), live())) is None
    assert matches_any(CLIENT.rights.projects, V.project)
    assert cause(key_of(held(V), over("a1"), live("a2")), ended) is None


CASES: Final[dict[str, tuple[FoundKey, RightEnded, Revoking]]] = {
    "detached": (key_of(held(V), over()), DETACHED, Revoking.DETACHED),
    "attached elsewhere": (
        key_of(held(V), over(), live("a2", "another")), DETACHED, Revoking.DETACHED,
    ),
    "released": (key_of(released(held(V))), RELEASED, Revoking.RELEASED),
    "suspended": (key_of(held(V, state=KeyState.SUSPENDED), live()), SUSPENDED, Revoking.SUSPENDED),
    "compromised": (
        key_of(held(V, state=KeyState.COMPROMISED), live()), SUSPENDED, Revoking.COMPROMISED,
    ),
    "destroyed": (key_of(held(V, state=KeyState.DESTROYED), live()), SUSPENDED, Revoking.DESTROYED),
    "suspended, and said to be detached": (
        key_of(held(V, state=KeyState.SUSPENDED), live()), DETACHED, Revoking.SUSPENDED,
    ),
    "detached, and said to be suspended": (key_of(held(V), over()), SUSPENDED, Revoking.DETACHED),
    "broken": (replace(key_of(held(V), live()), flaw="altered"), SUSPENDED, Revoking.SUSPENDED),
    "under a KEK that is away": (
        replace(key_of(None), flaw="its KEK", awaits_kek=True), SUSPENDED, Revoking.SUSPENDED,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_has_ended_is_given_up(case: str) -> None:
    found, ended, expected = CASES[case]
    assert cause(found, ended) is expected


def test_each_cause_in_the_schema_comes_about_and_no_other_does() -> None:
    said = schema_of("key-revoked")["properties"]["data"]["properties"]["cause"]["enum"]
    assert {*said} == {it.value for _found, _ended, it in CASES.values()} | {"client-revoked"}


@pytest.mark.parametrize("client", [None, REVOKED_CLIENT], ids=["unknown", "revoked"])
def test_who_is_no_client_gives_up_everything(client: ClientRecord | None) -> None:
    assert cause(key_of(held(V), live()), client=client) is Revoking.CLIENT_REVOKED


def test_a_copy_that_would_outlive_its_grant_is_asked_for_anew() -> None:
    """The attachment that it was delivered for is over, and the one that is left ends soon."""
    ends_first: dict[str, Any] = {"expires_at": "2027-01-15T08:30:00.000Z"}
    assert cause(key_of(held(V), over("a1"), live("a2", **ends_first))) is Revoking.DETACHED
    as_long = replace(COPY, until_s=NOW_S + 60)
    assert cause(key_of(held(V), over("a1"), live("a2", **ends_first)), copy=as_long) is None


def test_another_key_in_its_place_ends_the_copy_of_the_first() -> None:
    found = key_of(held(V), live())
    assert found.key is not None
    other = replace(found, key=replace(found.key, key_id="5f0e1c9a-0000-4000-8000-0000000000ff"))
    assert cause(other, RELEASED) is Revoking.RELEASED


def test_a_copy_by_key_id_ends_with_the_key_alone() -> None:
    copy = replace(COPY, item=None)
    client = replace(
        CLIENT, rights=replace(CLIENT.rights, needs_grant=False, kinds=frozenset(Kind))
    )
    found = replace(key_of(held(V)), state=None)
    assert cause(found, RELEASED, copy, client) is None
    gone = replace(key_of(held(V, state=KeyState.SUSPENDED)), state=None)
    assert cause(gone, SUSPENDED, copy, client) is Revoking.SUSPENDED


def test_one_occasion_has_one_id_and_another_has_another() -> None:
    first = revocation_id(COPY, "d1")
    assert first == revocation_id(replace(COPY, until_s=0.0), "d1")
    others = {
        revocation_id(COPY, "d2"),
        revocation_id(replace(COPY, client="another"), "d1"),
        revocation_id(replace(COPY, item=None), "d1"),
        revocation_id(replace(COPY, project="another"), "d1"),
    }
    assert len(others | {first}) == 5
