"""What policies and arguments do to our queues, and the command that repairs it."""

import json
from pathlib import Path
from typing import Any

import pytest

from kmworker.bus.management import Governed
from kmworker.bus.policies import (
    SHIPPED,
    SHIPPED_FOR_AUDIT,
    SHIPPED_FOR_REQUESTS,
    Fault,
    audit_faults,
    faults,
    half_full,
    limits_deliveries,
    request_faults,
    shipped_policy,
)
from kmworker.wire.topology import Topology

WORK = "kmworker.events.work"
TOPOLOGY = Topology("kmworker")


def found(version: str = "3.10.8", **governed: Any) -> list[Fault]:
    fields: dict[str, Any] = {"arguments": {"x-queue-type": "quorum"}, "effective": {}}
    return list(faults(Governed(WORK, **(fields | governed)), version, TOPOLOGY, "kmworker"))


@pytest.mark.parametrize("version", ["3.10.8", "4.0.5", "4.3.6"])
def test_the_shipped_policy_is_sound_on_every_version(version: str) -> None:
    assert found(version, effective=dict(SHIPPED), policy="kmworker") == []


def test_no_limit_at_all_is_as_good_as_ours_on_4() -> None:
    assert found("4.0.5", effective={**SHIPPED, "delivery-limit": -1}, policy="own") == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("message-ttl", 0), ("expires", 1000), ("max-length", 10), ("max-length-bytes", 10),
     ("delivery-limit", 20), ("delivery-limit", 0)],
)  # fmt: skip
@pytest.mark.parametrize("version", ["3.10.8", "4.0.5"])
def test_what_throws_events_away_is_named_with_the_policy_that_says_so(
    version: str, name: str, value: int
) -> None:
    (fault, *_) = found(version, effective={name: value, "delivery-limit": value}
                        if name == "delivery-limit" else {name: value, "delivery-limit": 1_000_000},
                        policy="catch-all", priority=500)  # fmt: skip
    assert fault.what == f"{WORK}: {name} {value}, by policy catch-all"
    assert fault.loses
    # Above what is there.
    assert fault.remedy == shipped_policy(TOPOLOGY, "kmworker", 501)


def test_a_policy_of_our_name_is_set_anew_in_its_place() -> None:
    (fault,) = found(effective={**SHIPPED, "message-ttl": 1}, policy="kmworker", priority=100)
    assert fault.remedy == shipped_policy(TOPOLOGY, "kmworker", 100)


def test_an_operators_policy_can_only_be_cleared() -> None:
    (fault,) = found(
        effective={**SHIPPED, "message-ttl": 5},
        policy="kmworker",
        operator_policy="hosted limits",
        operators=frozenset({"message-ttl"}),
    )
    assert fault.what == f"{WORK}: message-ttl 5, by operator policy hosted limits"
    assert fault.remedy == "rabbitmqctl clear_operator_policy -p kmworker 'hosted limits'"


def test_an_argument_of_the_queue_can_only_be_declared_anew() -> None:
    for version in ("3.10.8", "4.0.5"):
        (fault,) = found(
            version,
            arguments={"x-queue-type": "quorum", "x-delivery-limit": 20},
            effective=dict(SHIPPED),
        )
        assert fault.what == f"{WORK}: delivery-limit 20, an argument of the queue"
        assert fault.remedy == f"rabbitmqctl delete_queue -p kmworker {WORK} --if-empty"


def test_a_bound_that_refuses_publishers_loses_nothing() -> None:
    (fault,) = found(effective={**SHIPPED, "max-length": 10}, policy="own")
    assert not fault.loses
    (fault, *_) = found(
        effective={"delivery-limit": 1_000_000, "overflow": "drop-head", "max-length": 10},
        policy="own",
    )
    assert fault.loses


def test_without_any_policy_events_are_lost_on_4_and_may_be_on_3() -> None:
    (fault,) = found("4.0.5")
    assert fault.loses
    assert "RabbitMQ's own of 20" in fault.what
    (fault,) = found("3.13.7")
    assert not fault.loses
    assert fault.remedy == shipped_policy(TOPOLOGY, "kmworker")


@pytest.mark.parametrize(
    ("version", "limited"),
    [("3.10.8", False), ("3.13.7", False), ("4.0.5", True), ("10.0", True), ("", False)],
)
def test_from_4_on_a_broker_has_a_limit_of_its_own(version: str, limited: bool) -> None:
    assert limits_deliveries(version) is limited


def test_the_command_is_that_of_the_documents_for_any_namespace_and_vhost() -> None:
    assert shipped_policy(Topology("km.prod"), "/") == (
        "rabbitmqctl set_policy -p / --apply-to queues --priority 100 kmworker"
        r" '^km\.prod\.(events\.work|dead|anchor)$'"
        ' \'{"delivery-limit": 1000000000, "overflow": "reject-publish"}\''
    )


def of_audit(version: str = "3.10.8", **governed: Any) -> list[Fault]:
    fields: dict[str, Any] = {"arguments": {}, "effective": {}}
    it = Governed("kmworker.audit", **(fields | governed))
    return list(audit_faults(it, version, TOPOLOGY, "kmworker"))


@pytest.mark.parametrize("version", ["3.10.8", "4.0.5", "4.3.6"])
def test_the_audit_trails_own_policy_is_sound_on_every_version(version: str) -> None:
    assert of_audit(version, effective=dict(SHIPPED_FOR_AUDIT), policy="kmworker-audit") == []


def test_the_shipped_definitions_say_what_doctor_looks_for() -> None:
    path = Path(__file__).parents[3] / "config" / "rabbitmq" / "definitions.json"
    shipped = {it["name"]: it for it in json.loads(path.read_text())["policies"]}
    assert shipped["kmworker-audit"]["definition"] == dict(SHIPPED_FOR_AUDIT)
    assert shipped["kmworker-audit"]["pattern"] in of_audit(effective={"expires": 1})[0].remedy


@pytest.mark.parametrize(
    ("effective", "said", "loses"),
    [
        ({**SHIPPED_FOR_AUDIT, "message-ttl": 5}, "message-ttl 5", True),
        ({**SHIPPED_FOR_AUDIT, "overflow": "drop-head"}, "max-length 2000000", True),
        (dict(SHIPPED), "nothing bounds it", False),
        ({**SHIPPED_FOR_AUDIT, "delivery-limit": 20}, "delivery-limit 20", True),
    ],
)
def test_what_throws_records_away_or_lets_them_fill_a_disk_is_named(
    effective: dict[str, Any], said: str, loses: bool
) -> None:
    found = of_audit(effective=effective, policy="own", priority=200)[0]
    assert said in found.what
    assert found.loses is loses
    assert "--priority 201 kmworker-audit '^kmworker\\.audit$'" in found.remedy


def of_requests(**effective: Any) -> list[Fault]:
    it = Governed("kmworker.requests", {}, effective, policy="own", priority=200)
    return list(request_faults(it, TOPOLOGY, "kmworker"))


def test_the_shipped_policy_of_requests_is_sound_and_is_what_the_definitions_say() -> None:
    assert of_requests(**SHIPPED_FOR_REQUESTS) == []
    path = Path(__file__).parents[3] / "config" / "rabbitmq" / "definitions.json"
    shipped = {it["name"]: it for it in json.loads(path.read_text())["policies"]}
    assert shipped["kmworker-requests"]["definition"] == dict(SHIPPED_FOR_REQUESTS)
    assert shipped["kmworker-requests"]["pattern"] in of_requests()[0].remedy


@pytest.mark.parametrize(
    ("effective", "said"),
    [
        ({}, ["nothing ends requests", "nothing bounds it"]),
        ({**SHIPPED_FOR_REQUESTS, "expires": 5}, ["expires 5, by policy own"]),
        ({**SHIPPED_FOR_REQUESTS, "overflow": "reject-publish"}, ["new requests are refused"]),
        ({"message-ttl": 1000, "max-length-bytes": 1}, []),
    ],
)
def test_what_lets_requests_pile_up_is_named_and_loses_nothing(
    effective: dict[str, Any], said: list[str]
) -> None:
    found = of_requests(**effective)
    for fault, words in zip(found, said, strict=True):
        assert words in fault.what
        assert not fault.loses
        assert "--priority 201 kmworker-requests '^kmworker\\.requests$'" in fault.remedy


@pytest.mark.parametrize(
    ("messages", "size_bytes", "said"),
    [
        (999_999, 536_870_911, ""),
        (1_000_000, 0, "1,000,000 of max-length 2,000,000"),
        (1, 536_870_912, "536,870,912 of max-length-bytes 1,073,741,824"),
    ],
)
def test_half_of_either_bound_is_half_full(messages: int, size_bytes: int, said: str) -> None:
    effective = dict(SHIPPED_FOR_AUDIT)
    it = Governed("q", {}, effective, messages=messages, size_bytes=size_bytes)
    assert half_full(it) == said


def test_what_has_no_bound_is_never_half_full() -> None:
    assert half_full(Governed("q", {}, {}, messages=10**9)) == ""
