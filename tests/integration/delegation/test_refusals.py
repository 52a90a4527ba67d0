"""What a client is told when it gets no key, and what it does not learn by it.

All on one installation, and all that waits for its grant is asked for at once: a request waits for
25 s before it is refused.
"""

import json
from collections.abc import Iterator
from time import time
from typing import Final
from uuid import uuid4

import pytest

from kmworker.client import asking as library
from kmworker.client.keys import KeyRefused, Keys
from tests.integration.cli.test_events import volume
from tests.integration.cli.test_key_states import gone
from tests.kit.outside.asking import Line, host_of, lined, second_client, volume_of
from tests.kit.outside.delegating import (
    NODE,
    WHO,
    Delegation,
    P,
    attached,
    detached,
    enrol,
)
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ

ELSEWHERE: Final = "compute-99"
HELD: Final = (
    "ok", "elsewhere", "unattached", "off", "gone", "suspended", "hidden", "compromised", "plain",
)  # fmt: skip
GRANTED: Final = {it for it in HELD if it not in {"elsewhere", "unattached", "hidden"}}
HOUR_S: Final = 3600.0


@pytest.fixture(scope="module")
def told(delegation: Delegation) -> Delegation:
    """Volumes in every state that a client can meet."""
    site = delegation.site
    delegation.tell(
        *(volume(it, P, **({"encryption": None} if it == "plain" else {})) for it in HELD),
        volume("theirs", "p2"),
        *(attached(it) for it in HELD if it in GRANTED),
        attached("elsewhere", node=ELSEWHERE),
    )
    until(lambda: site.reader.table(P, "items").keys() >= {f"volume:{it}" for it in HELD}, "held")
    until(lambda: len(site.reader.table(P, "grants")) == len(GRANTED) + 1, "attached")
    delegation.tell(detached("off"), gone("gone"))
    until(lambda: "over" in delegation.attachments("off")["a1"], "it is detached")
    done = {"suspended": ["suspend"], "hidden": ["suspend"], "compromised": ["compromise", "--yes"]}
    for name, what in done.items():
        site.run("key", what[0], f"volume:{name}", "--project", P, *WHO, *what[1:])
    return delegation


def without(body: bytes) -> dict[str, object]:
    """A refusal without what differs by its request."""
    said = json.loads(body)
    data = said["data"]
    return {
        **{name: it for name, it in said.items() if name not in {"id", "time", "data"}},
        "data": {name: it for name, it in data.items() if name not in {"request", "request_id"}},
    }


def test_who_has_no_grant_is_told_the_same_of_everything(told: Delegation, line: Line) -> None:
    host = host_of(told)
    names = ["unknown", "unattached", "elsewhere", "hidden", "off", "theirs"]
    requests = [host.request(it) for it in names]
    requests.append(host.request("theirs", project="p2"))
    answers = line.ask_all(requests)
    for answer, request in zip(answers, requests, strict=True):
        assert host.refusal_in(answer, request) == "not-granted"
    assert len({json.dumps(without(it.body)) for it in answers}) == 1
    assert len({len(it.body) for it in answers}) == 1
    kept = [
        {name: value for name, value in it.properties.items()
         if name not in {"message_id", "correlation_id", "application_headers"}}
        for it in answers
    ]  # fmt: skip
    assert all(it == kept[0] for it in kept)


def test_who_may_have_it_is_told_what_it_is(told: Delegation, line: Line) -> None:
    host = host_of(told)
    wanted = {
        "suspended": "suspended", "compromised": "compromised", "gone": "not-granted",
        "plain": "not-granted",
    }  # fmt: skip
    requests = [host.request(it) for it in wanted]
    answers = line.ask_all(requests)
    found = {
        name: host.refusal_in(answer, request)
        for name, answer, request in zip(wanted, answers, requests, strict=True)
    }
    assert found == wanted
    ok = host.request("ok")
    assert host.key_in(line.ask(ok), ok) == told.exported("ok")


def test_a_destroyed_key_is_told_to_who_needs_no_grant_and_to_nobody_else(
    told: Delegation, line: Line, rabbitmq: RabbitMQ
) -> None:
    site = told.site
    key_id = site.reader.records(P, "items")["volume:gone"]["data"]["key_id"]
    site.run("key", "destroy", "volume:gone", "--project", P, *WHO, "--now", "--again", key_id)
    options = ("--no-grant", "--project", P)
    with second_client(told, rabbitmq, "backup", enrol, *options) as backup, lined(backup) as own:
        destroyed, unknown = backup.request(key_id=key_id), backup.request(key_id=str(uuid4()))
        answers = own.ask_all([destroyed, unknown])
        assert backup.refusal_in(answers[0], destroyed) == "destroyed"
        assert backup.refusal_in(answers[1], unknown) == "not-granted"
        # It may ask for nothing of another project's, whatever there is.
        foreign = backup.request("theirs", project="p2")
        assert backup.refusal_in(own.ask(foreign), foreign) == "not-granted"
        held = backup.request("unattached")
        assert backup.key_in(own.ask(held), held) == told.exported("unattached")
    host = host_of(told)
    asked = [host.request(key_id=key_id), host.request(key_id=str(uuid4()))]
    answers = line.ask_all(asked)
    assert without(answers[0].body) == without(answers[1].body)
    assert {it.word for it in answers} == {"not-granted"}


def test_a_revoked_client_gets_nothing_from_its_next_request_on(
    told: Delegation, rabbitmq: RabbitMQ
) -> None:
    options = ("--node", NODE, "--project", "*")
    with second_client(told, rabbitmq, "stolen", enrol, *options) as stolen, lined(stolen) as own:
        first = stolen.request("ok")
        assert stolen.key_in(own.ask(first), first)
        held = json.loads(told.site.run("client", "revoke", "stolen", "--json", *WHO).stdout)
        assert [it["item"] for it in held["copies"]] == ["volume:ok"]
        # Also what it asked when it was a client still, once more.
        for request in (stolen.request("ok"), first):
            own.answers.clear()
            assert stolen.refusal_in(own.ask(request), request) == "unknown-client"
        with stolen.keys() as keys, pytest.raises(KeyRefused, match="unknown-client"):
            keys.get(volume_of("ok"))
        # By another's account it is nobody's, and not even answered.
        host = host_of(told)
        with lined(host) as line:
            forged = stolen.request("ok")
            line.send(forged)
            honest = host.request("ok")
            assert host.key_in(line.ask(honest), honest)
            assert not line.answers_to(forged)


@pytest.mark.parametrize("late_s", [HOUR_S, -HOUR_S], ids=["behind", "ahead"])
def test_a_clock_that_is_an_hour_off_is_told_the_time(
    told: Delegation, line: Line, late_s: float
) -> None:
    host = host_of(told)
    stale = host.request("ok", late_s=late_s)
    answer = line.ask(stale)
    assert host.refusal_in(answer, stale) == "stale-request"
    assert abs(host.check(answer, stale).at_s - time()) < HOUR_S / 2


@pytest.fixture
def keys(told: Delegation) -> Iterator[Keys]:
    with host_of(told).keys() as keys:
        yield keys


def test_the_library_gets_its_key_by_a_clock_that_is_ahead(
    told: Delegation, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "time", lambda: time() + HOUR_S)
    for _ in range(2):
        with keys.get(volume_of("ok")) as delivered:
            assert bytes(delivered.key.view) == told.exported("ok")


def test_an_id_stands_for_its_first_bytes(told: Delegation, line: Line) -> None:
    host = host_of(told)
    first = host.request("ok")
    key = host.key_in(line.ask(first), first)
    other = host.request("ok", id=first.asked.id, purpose="another")
    line.answers.clear()
    assert host.refusal_in(line.ask(other), other) == "reused-id"
    # The same once more is answered once more.
    line.answers.clear()
    assert host.key_in(line.ask(first), first) == key


def test_the_library_says_what_is_to_be_done(told: Delegation, keys: Keys) -> None:
    for name in ("suspended", "compromised"):
        with pytest.raises(KeyRefused, match=name) as refused:
            keys.get(volume_of(name))
        assert refused.value.hint
    del told
