"""``kmworker explain``: the policy's answers, by which rule or guard, and what they cost."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from kmworker.domain import copying, guards
from kmworker.domain.explain import GUARDS
from tests.kit.builders import event_of, volume
from tests.kit.cli.stand import GOOD, FilledStore, document, failed, lines, run, said

CLONE = ("volume-created", "--project", "p1", "--set", "volume_id=v9",
         "--set", "source.kind=volume", "--set", "source.id=v1")  # fmt: skip
BLANK = ("volume-created", "--project", "p1", "--set", "volume_id=v9")
SIZE = ("--set", "size_bytes=1000")
DATA = {"project_id": "p1", "volume_id": "v1"}


def explained(*arguments: str) -> Any:
    """The explanation of one event."""
    (found,) = document("explain", *arguments)
    return found


DECISIONS: dict[str, tuple[tuple[str, ...], str, str | None, int | None]] = {
    "a rule": (CLONE, "clone", "derived-volumes-get-a-clone", 0),
    "a blank volume": (BLANK, "create", "blank-volumes-get-a-key", 0),
    "an image": (
        ("volume-created", "--project", "p1", "--set", "volume_id=v9",
         "--set", 'source={"kind":"image","id":"i1"}'),
        "create", "volumes-from-images-get-a-key", 1000,
    ),
    "a requested disposition": ((*CLONE, "--set", "disposition=create"), "create",
               "derived-volumes-get-a-clone", 1000),
    "not encrypted": ((*BLANK, "--set", "encryption=null"), "none", "guard:not-encrypted", 0),
    "another project": ((*CLONE, "--set", "source.project_id=p2"), "create",
                        "guard:cross-project", 1000),
    "another cipher": ((*CLONE, "--set", "encryption.cipher=aes-gcm-random"), "create",
                       "guard:encryption-differs", 1000),
    "a stream by position": ((*CLONE, "--source-encryption", "aes-ctr-plain64/256"), "create",
                             "guard:iv-repeats", 1000),
    "a cipher by its name": ((*CLONE, "--source-encryption", "aes-ctr-plain64"), "create",
                             "guard:iv-repeats", 1000),
    "an unlisted cipher": ((*CLONE, "--source-encryption", "serpent/256"), "create",
                           "guard:unknown-cipher", 1000),
    "a suspended source": ((*CLONE, "--source-state", "suspended"), "create",
                           "guard:source-not-active", 1000),
    "an unencrypted source": ((*CLONE, "--source-encryption", "none"), "create",
                              "guard:source-unencrypted", 1000),
    "a shared copy of an unencrypted source": (
        (*CLONE, "--set", "copy=shared", "--source-encryption", "none"),
        "none", "guard:source-unencrypted", 0,
    ),
    "an unencrypted copy": ((*CLONE, "--set", "encryption=null"), "policy-denied", None, None),
    "an unlisted cipher of its own": (
        (*BLANK, "--set", "encryption.cipher=AES-XTS-PLAIN64"), "policy-denied", None, None,
    ),
    "an unencrypted source of an encrypted item": (
        (*CLONE, "--source-encryption", "none", "--set", "encryption.cipher=aes-xts-plain64"),
        "create", "guard:source-unencrypted", 1000,
    ),
    "a destroyed source": ((*CLONE, "--source-state", "destroyed"), "source-unusable", None, None),
    "no source": ((*CLONE, "--source-state", "absent"), "wait", None, None),
    "a wrong key size": (
        (*BLANK, "--set", 'encryption={"cipher":"aes-xts-plain64","key_bits":384}'),
        "policy-denied", None, None,
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "expected", "by", "size_bytes"), DECISIONS.values(), ids=DECISIONS
)
def test_every_decision_names_what_made_it_and_what_it_costs(
    arguments: tuple[str, ...], expected: str, by: str | None, size_bytes: int | None
) -> None:
    found = explained(*arguments, *SIZE)
    assert (found["decision"], found["by"]) == (expected, by)
    assert (found["copied_bytes"], found["reencrypted_bytes"]) == (size_bytes, size_bytes)
    assert found["why"]
    if by is not None and by.startswith("guard:"):
        assert found["why"] == GUARDS[by.removeprefix("guard:")]


@pytest.mark.parametrize(
    ("event", "requested", "decision", "why"),
    [
        (CLONE, "reuse", "reuse", "the rule allows the requested disposition: reuse"),
        (BLANK, "clone", "create",
         "the rule says create, and does not allow the requested disposition: clone"),
    ],
)  # fmt: skip
def test_a_requested_disposition_is_told(
    event: tuple[str, ...], requested: str, decision: str, why: str
) -> None:
    found = explained(*event, "--set", f"disposition={requested}")
    assert (found["decision"], found["why"]) == (decision, why)


def test_an_unknown_size_is_said_to_be_unknown() -> None:
    arguments = (*CLONE, "--set", "disposition=create")
    assert explained(*arguments)["copied_bytes"] is None
    out = run("explain", *arguments).stdout
    assert "copied        all of it; the event has no size_bytes\n" in out


def test_every_guard_of_the_decision_is_explained() -> None:
    sources = [Path(str(it.__file__)).read_text("utf-8") for it in (copying, guards)]
    named = set(re.findall(r'"guard:([a-z-]+)"', "".join(sources)))
    assert named == set(GUARDS)


def test_a_guard_that_cannot_help_a_copy_as_it_is_is_told_as_such() -> None:
    found = explained(*CLONE, "--set", "copy=shared", "--source-encryption", "aes-ctr-plain64")
    assert (found["decision"], found["by"]) == ("clone", "guard:iv-repeats")
    expected = GUARDS["iv-repeats"] + "; but a copy as it is stays under its source's key"
    assert (found["why"], found["copied_bytes"]) == (expected, 0)


def test_a_volume_from_an_image_is_told_of_images_of_encrypted_volumes() -> None:
    found = explained(*BLANK, "--set", "source.kind=image", "--set", "source.id=i1")
    assert found["data_action"] == "encrypt"
    assert "announce it as a replica of that volume" in found["why"]
    plain = explained(*BLANK, "--set", "source.kind=image", "--set", "source.id=i1",
                      "--set", "encryption=null")  # fmt: skip
    assert "replica" not in plain["why"]


def test_a_decrypted_copy_is_copied_and_not_encrypted_anew(policy: Path) -> None:
    denying, allowing = 'decrypted_copies = "deny"', 'decrypted_copies = "allow"'
    policy.write_text(policy.read_text().replace(denying, allowing))
    found = explained(*CLONE, *SIZE, "--set", "encryption=null")
    assert (found["decision"], found["data_action"]) == ("none", "decrypt")
    assert (found["copied_bytes"], found["reencrypted_bytes"]) == (1000, 0)


LEFT_OPEN = '[[default_encryption]]\nvolume_type = "luks*"\ncipher = "aes-xts-plain64"\n'


def test_a_policy_that_leaves_volume_types_unencrypted_is_told_to(policy: Path) -> None:
    head = policy.read_text().partition("[[default_encryption]]")[0]
    policy.write_text(head + LEFT_OPEN)
    warning = "kmworker: a volume type that no default encryption names is not encrypted\n"
    assert said(run("explain"))[2] == warning
    found = explained(*BLANK, "--set", "volume_type=LUKS")
    assert (found["decision"], found["by"]) == ("none", "guard:not-encrypted")
    assert found["why"] == "neither the event nor the policy's default says that it is encrypted"


# --- what it is told, and what it finds -------------------------------------------


def test_a_store_is_asked_for_item_and_source(filled: FilledStore) -> None:
    assert said(run("explain", *CLONE))[2] == ""
    assert explained(*CLONE)["decision"] == "clone"
    assert explained(*CLONE, "--set", "source.id=nobody")["decision"] == "wait"


def test_an_assigned_item_is_announced_again_whatever_the_policy_says(filled: FilledStore) -> None:
    again = ("--set", "volume_id=v2", "--set", "source.kind=snapshot", "--set", "source.id=s1")
    found = explained("volume-created", "--project", "p1", *again)
    assert (found["decision"], found["by"]) == ("repeat", "derived-volumes-get-a-clone")
    conflict = explained("volume-created", "--project", "p1", "--set", "volume_id=v2")
    assert conflict["decision"] == "conflict"
    assert "assigned already, from snapshot:s1" in conflict["why"]


def test_an_assumption_is_heard_instead_of_the_store(store: FilledStore) -> None:
    store.assign(event_of(volume("v1")))
    found = explained(*CLONE, "--source-state", "compromised")
    assert found["by"] == "guard:source-not-active"


def test_a_broken_record_is_an_incident(store: FilledStore) -> None:
    store.assign(event_of(volume("v1")))
    store.change("p1", "items", "volume:v1", b'"node":null', b'"node":"me"')
    assert explained(*CLONE)["decision"] == "integrity"


PRODUCERS = """
[[producer]]
user = "cinder"
projects = ["p1"]
types = ["volume-created"]

[[producer]]
user = "swift"
projects = ["*"]
types = ["replica-added"]
"""


@pytest.fixture
def listing(policy: Path) -> None:
    """A policy that lists producers."""
    policy.write_text(policy.read_text() + PRODUCERS)


@pytest.mark.parametrize(
    ("user", "decision", "why"),
    [
        ("cinder", "create", "the rule says create"),
        ("swift", "not-allowed", "producer swift may not publish volume-created"),
        ("mallory", "not-allowed", "user mallory is no producer in the policy"),
    ],
)
def test_a_user_of_the_broker_is_heard_or_not_as_a_worker_would(
    listing: None, user: str, decision: str, why: str
) -> None:
    found = explained(*BLANK, "--user", user)
    assert (found["decision"], found["why"]) == (decision, why)


def test_where_no_user_is_assumed_a_person_is_told_that_some_producer_is(listing: None) -> None:
    assert explained(*BLANK)["decision"] == "create"
    assert (
        "assuming a producer that may send it: --user asks for one" in run("explain", *BLANK).stderr
    )


def test_events_of_a_file_see_those_before_them() -> None:
    taken = {**GOOD, "type": "snapshot-taken",
             "data": {"project_id": "p1", "snapshot_id": "s1", "volume_id": "v1"}}  # fmt: skip
    plain = {**GOOD, "data": {**DATA, "encryption": None}}
    found = document("explain", "--file", "-", stdin=lines(plain, taken))
    assert [(it["item"], it["decision"]) for it in found] == [
        ("volume:v1", "none"),
        ("snapshot:s1", "none"),
    ]


def test_a_partitions_first_replica_brings_it_along() -> None:
    arguments = ("replica-added", "--project", "swift", "--set", "replica_id=4711@obj-07",
                 "--set", "source.kind=partition", "--set", "source.id=4711",
                 "--set", "node=obj-07", "--source-state", "absent")  # fmt: skip
    found = document("explain", *arguments)
    assert [(it["item"], it["decision"], it["by"]) for it in found] == [
        ("partition:4711", "create", "partitions-get-a-key"),
        ("replica:4711@obj-07", "reuse", "partition-replicas-share-the-key-id"),
    ]


def test_events_that_contradict_each_other_are_said_to() -> None:
    from_v0 = {**GOOD, "id": "2", "data": {**DATA, "source": {"kind": "volume", "id": "v0"}}}
    found = document("explain", "--file", "-", stdin=lines(GOOD, from_v0))
    assert [it["decision"] for it in found] == ["create", "conflict"]


def test_a_malformed_event_keeps_no_other_from_being_explained() -> None:
    bad = {**GOOD, "data": {"project_id": "p1"}}
    good = {**GOOD, "id": "e2", "data": {"project_id": "p1", "volume_id": "v2"}}
    result = run("explain", "--file", "-", "--json", stdin=lines(bad, GOOD, bad, good))
    assert result.exit_code == 1
    assert [it["item"] for it in json.loads(result.stdout)] == ["volume:v1", "volume:v2"]
    assert "line 1: malformed" in result.stderr
    assert "line 3: malformed" in result.stderr


@pytest.mark.parametrize("encryption", ["serpent", "aes-xts-plain64/", "/512", ""])
def test_an_encryption_that_is_none_is_wrong_usage(encryption: str) -> None:
    err = failed(2, "explain", *CLONE, "--source-encryption", encryption)
    assert "not like aes-xts-plain64/512" in err


# --- the policy itself ------------------------------------------------------------


def test_the_policy_as_json() -> None:
    found = document("explain")
    assert found["rule"][0]["name"] == "blank-volumes-get-a-key"
    assert found["guard"] == GUARDS


def test_a_replica_is_told_with_what_rsync_moves_of_it() -> None:
    words = (
        "replica-added", "--project", "p1", "--set", "replica_id=r1", "--set", "node=n2",
        "--set", "source.kind=volume", "--set", "source.id=v1",
        "--source-encryption", "aes-xts-plain64/512", "--set", "size_bytes=4096000",
    )  # fmt: skip
    (kept,) = document("explain", *words, "--set", "transport=block")
    assert (kept["decision"], kept["replication"]["way"]) == ("reuse", "xts")
    assert kept["replication"]["unchanged"] == 0.0
    assert 3_000_000 < kept["replication"]["inserted_bytes"] < 3_150_000
    (anew,) = document("explain", *words, "--set", "transport=reencrypt")
    assert (anew["decision"], anew["replication"]["way"]) == ("create", "other-key")
    assert anew["replication"]["inserted_bytes"] == anew["size_bytes"] == 4_096_000
    said = run("explain", *words, "--set", "transport=block").stdout
    assert "0% of what is unchanged" in " ".join(said.split())
    assert "about 4,096 bytes where 4 KiB" in " ".join(said.split())
    said = run("explain", *words, "--set", "transport=reencrypt").stdout
    assert "100% of what is unchanged" in " ".join(said.split())
    assert "all of it where 4 KiB" in " ".join(said.split())
    assert "docs/replication.md" in said
