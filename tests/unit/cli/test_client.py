"""``kmworker trust`` and ``client``: lists are handed out, hosts enrolled, renewed, revoked."""

import json
from pathlib import Path
from time import time
from typing import Any, Self

import pytest

from kmworker.cli.client import getting
from kmworker.clock import rfc3339
from kmworker.delegation.enrolment import Enrolment
from kmworker.delegation.identity import Identity
from kmworker.delegation.renewal import former_path, next_path
from kmworker.delegation.root_key import RootKey
from kmworker.errors import Untrusted
from tests.kit.builders import event_of, volume
from tests.kit.cli.stand import FilledStore, document, failed, run

K1, K2 = (f"5f0e1c9a-0000-4000-8000-00000000000{number}" for number in (1, 2))
WHO = ("--operator", "alice", "--reason", "a drill")
HOST = {"client__identity": "identity.json", "client__enrolment": "enrolment.json"}


@pytest.fixture
def installation(store: FilledStore) -> str:
    """An installation that a worker has used."""
    store.assign(event_of(volume("v1")))
    return str(document("trust", "show")["installation"])


def signed(installation: str, *options: str, root: str = "root.json") -> str:
    """Return a signed list of one key server."""
    if not Path(root).exists():
        assert run("trust", "init", "--root", root).exit_code == 0
    if not Path("server.json").exists():
        Path("server.json").write_text(run("trust", "key").stdout)
    words = ("trust", "sign", "server.json", "--root", root, "--installation", installation)
    done = run(*words, *options)
    assert done.exit_code == 0, done.stderr
    return done.stdout


@pytest.fixture
def trusting(installation: str) -> str:
    """The same, with a list that is handed out."""
    assert run("trust", "publish", "-", stdin=signed(installation)).exit_code == 0
    return installation


def enrolled(name: str = "compute-17", *more: str, project: str = "*") -> dict[str, Any]:
    """Enrol a host; return what it is to pin."""
    request = run("client", "init", **HOST).stdout
    words = ("client", "enroll", name, "--request", "-", "--project", project, *WHO)
    done = run(*words, *(more or ("--node", "n1")), stdin=request)
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# --- trust ------------------------------------------------------------------------------


def test_a_list_is_handed_out_with_its_root_key(trusting: str) -> None:
    shown = document("trust", "show")
    assert shown["installation"] == trusting
    assert json.loads(Path("root.json").read_text())["public"] == shown["root"]
    assert "not_after" in run("trust", "show").stdout.replace(" ", "_")


def test_a_list_goes_only_up(trusting: str) -> None:
    lower = signed(trusting, "--number", "7")
    assert "is not above the present one" in failed(1, "trust", "publish", "-", stdin=lower)
    higher = signed(trusting, "--number", "9007199254740992", "--days", "30")
    assert run("trust", "publish", "-", stdin=higher).exit_code == 0


def test_another_root_key_is_refused_unless_it_is_meant(trusting: str) -> None:
    other = signed(trusting, root="other.json")
    assert "another root key" in failed(1, "trust", "publish", "-", stdin=other)
    assert run("trust", "publish", "-", "--new-root", stdin=other).exit_code == 0
    assert document("trust", "show")["root"] == json.loads(other)["root"]


def test_a_root_key_under_a_passphrase_signs_with_it_alone(installation: str) -> None:
    Path("words").touch(0o600)
    Path("words").write_text("five words that dice have thrown\n")
    made = run("trust", "init", "--root", "root.json", "--passphrase-file", "words")
    assert made.exit_code == 0
    assert "its passphrase apart" in made.stderr
    assert "dice" not in Path("root.json").read_text()
    listed = json.loads(signed(installation, "--passphrase-file", "words"))
    assert listed["root"] == made.stdout.strip()
    sign = ("trust", "sign", "server.json", "--root", "root.json", "--installation", installation)
    assert "nobody is there to type it" in failed(2, *sign)
    Path("words").write_text("five words that dice have thrown twice")
    assert "the passphrase is another one" in failed(2, *sign, "--passphrase-file", "words")
    Path("words").chmod(0o644)
    assert "open to group or others" in failed(2, *sign, "--passphrase-file", "words")


def test_a_passphrase_comes_from_one_place_and_is_not_short(installation: str) -> None:
    del installation
    init = ("trust", "init", "--root", "root.json")
    assert "nobody is there to type it" in failed(2, *init, "--passphrase")
    both = failed(2, *init, "--passphrase", "--passphrase-file", "words")
    assert "do not go together" in both
    Path("words").touch(0o600)
    Path("words").write_text("eight ls")
    assert "fewer than 16 bytes" in failed(2, *init, "--passphrase-file", "words")
    assert not Path("root.json").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda it: it.update(signature=it["signature"][::-1]),
        lambda it: it.update(text=it["text"].replace("2027", "2127")),
        lambda it: it.update(root="AAAA"),
        lambda it: it.pop("root"),
    ],
    ids=["signature", "text", "root", "no root"],
)
def test_what_the_root_key_has_not_signed_is_not_handed_out(installation: str, change: Any) -> None:
    handed = json.loads(signed(installation))
    change(handed)
    failed(2, "trust", "publish", "-", stdin=json.dumps(handed))
    assert "number" not in document("trust", "show")


def test_a_list_of_another_installation_is_refused(installation: str) -> None:
    del installation
    other = signed("00000000-0000-4000-8000-00000000abcd")
    assert "not signed by" in failed(2, "trust", "publish", "-", stdin=other)


def test_what_is_no_request_is_not_listed(installation: str) -> None:
    signed(installation)
    Path("x.json").write_text("{}")
    words = ("trust", "sign", "x.json", "--root", "root.json", "--installation", installation)
    assert "x.json: " in failed(2, *words)
    assert "at most 8" in failed(2, *words[:2], *["server.json"] * 9, *words[3:])
    assert "root.json" not in failed(2, "trust", "sign", "server.json", "--root", "no.json",
                                     "--installation", installation)  # fmt: skip


# --- clients ----------------------------------------------------------------------------


def test_a_host_is_enrolled_and_pins_what_it_believes(trusting: str) -> None:
    given = enrolled()
    Path("given.json").write_text(json.dumps(given))
    assert run("client", "pin", "given.json", **HOST).exit_code == 0
    identity = Identity.load(Path("identity.json"))
    pinned = Enrolment.load(Path("enrolment.json"), identity.public)
    assert (pinned.client, pinned.installation) == ("compute-17", trusting)
    (shown,) = document("client", "list")
    assert (shown["client"], shown["nodes"], shown["rights"]) == ("compute-17", ["n1"], ["get"])
    assert shown["needs_grant"]
    assert "compute-17" in run("client", "list").stdout
    said = run("client", "show", "compute-17").stdout
    assert "alice" in said
    assert document("client", "show", "compute-17") == shown


@pytest.mark.usefixtures("trusting")
def test_an_enrolment_of_another_identity_is_not_pinned() -> None:
    given = enrolled()
    Path("identity.json").unlink()
    run("client", "init", **HOST)
    words = ("client", "pin", "-")
    assert "of the identity" in failed(2, *words, stdin=json.dumps(given), **HOST)
    assert failed(2, *words, stdin="{}", **HOST)


@pytest.mark.usefixtures("trusting")
def test_rights_are_as_they_are_said() -> None:
    options = ("--no-grant", "--kind", "volume", "--kind", "snapshot", "--right", "get",
               "--right", "list")  # fmt: skip
    enrolled("backup", *options, project="p1")
    shown = document("client", "show", "backup")
    assert shown["kinds"] == ["snapshot", "volume"]
    assert shown["rights"] == ["get", "list"]
    assert (shown["projects"], shown["needs_grant"]) == (["p1"], False)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--node", "n1", "--kind", "image"), "--kind: one of volume"),
        (("--node", "n1", "--right", "all"), "--right: one of get"),
        ((), "--node: "),
    ],
)
def test_what_is_no_right_is_refused(options: tuple[str, ...], said: str) -> None:
    words = ("client", "enroll", "c", "--request", "-", "--project", "*", *WHO, *options)
    assert said in failed(2, *words, stdin="{}")


@pytest.mark.usefixtures("trusting")
def test_what_a_shell_has_put_in_its_place_is_pinned_there() -> None:
    given = json.dumps(enrolled())
    Path("enrolment.json").write_text(given)
    Path("enrolment.json").chmod(0o644)
    assert run("client", "pin", "./enrolment.json", **HOST).exit_code == 0
    identity = Identity.load(Path("identity.json"))
    assert Enrolment.load(Path("enrolment.json"), identity.public).client == "compute-17"
    assert Path("enrolment.json").read_text() == given


@pytest.mark.usefixtures("trusting")
def test_an_enrolled_name_is_not_taken_by_another() -> None:
    enrolled()
    Path("identity.json").unlink()
    request = run("client", "init", **HOST).stdout
    words = ("client", "enroll", "compute-17", "--request", "-", "--project", "*", "--node", "n1")
    assert "it is enrolled" in failed(1, *words, *WHO, stdin=request)


@pytest.mark.usefixtures("trusting")
def test_a_host_is_renewed_without_a_gap() -> None:
    Path("given.json").write_text(json.dumps(enrolled()))
    run("client", "pin", "given.json", **HOST)
    before = Identity.load(Path("identity.json"))
    request = run("client", "init", "--renew", **HOST).stdout
    words = ("client", "renew", "compute-17", "--request", "-", *WHO)
    given = run(*words, stdin=request)
    assert given.exit_code == 0, given.stderr
    shown = document("client", "show", "compute-17")
    assert len(shown["fingerprints"]) == 2
    assert (shown["renewed_by"], shown["renewed_because"]) == ("alice", "a drill")
    assert shown["renewed_at"] >= shown["enrolled_at"]
    assert run("client", "pin", "-", stdin=given.stdout, **HOST).exit_code == 0
    after = Identity.load(Path("identity.json"))
    assert after.public != before.public
    assert not next_path(Path("identity.json")).exists()
    assert Identity.load(former_path(Path("identity.json"))).public == before.public
    assert run(*words, "--alone", stdin=request).exit_code == 0
    alone = document("client", "show", "compute-17")
    assert len(alone["fingerprints"]) == 1
    # Its newest identity is as old as it was.
    assert alone["renewed_at"] == shown["renewed_at"]
    assert "already" in failed(1, *words, "--alone", stdin=request).replace(" is to be", "")


@pytest.mark.usefixtures("trusting")
def test_key_servers_find_who_was_revoked_beside_the_record_of_it(store: FilledStore) -> None:
    enrolled()
    name = store.names.top("revoked")
    assert store.client.hkeys(name) == []
    assert run("client", "revoke", "compute-17", *WHO).exit_code == 0
    assert store.client.hkeys(name) == [b"compute-17 2"]


@pytest.mark.usefixtures("trusting")
def test_who_revokes_a_client_is_told_which_keys_it_may_hold(store: FilledStore) -> None:
    enrolled()
    now = int(time())
    until = rfc3339(now + 60)
    for member, until_s in {
        f"p1 {K1} volume:v1": 60,
        f"p2 {K2} ": 90,
        f"p1 {K2} volume:v3": -1,
    }.items():
        store.client.zadd(store.names.copies_at("compute-17"), {member: now + until_s})
    done = run("client", "revoke", "compute-17", *WHO)
    assert "compute-17 is revoked; it may hold 2 copies of keys" in done.stdout
    assert [line.split() for line in done.stdout.splitlines() if line.startswith(("p1", "p2"))] == [
        ["p1", "volume:v1", K1, until],
        ["p2", "-", K2, rfc3339(now + 90)],
    ]
    assert "audit export --client compute-17 --output FILE" in done.stderr


@pytest.mark.usefixtures("trusting")
def test_programs_are_told_which_keys_it_may_hold(store: FilledStore) -> None:
    enrolled()
    now = int(time())
    store.client.zadd(store.names.copies_at("compute-17"), {f"p1 {K1} volume:v1": now + 60})
    assert document("client", "revoke", "compute-17", *WHO) == {
        "client": "compute-17",
        "copies": [{
            "project_id": "p1", "item": "volume:v1", "key_id": K1, "until": rfc3339(now + 60),
        }],
    }  # fmt: skip


@pytest.mark.usefixtures("trusting")
def test_a_revoked_client_is_enrolled_anew_with_another_identity_alone() -> None:
    enrolled()
    assert run("client", "revoke", "compute-17", *WHO).exit_code == 0
    assert "revoked" in run("client", "list").stdout
    assert "it is revoked since" in failed(1, "client", "revoke", "compute-17", *WHO)
    request = Path("request.json")
    request.write_text(run("client", "init", "--renew", **HOST).stdout)
    words = ("--request", "request.json", *WHO)
    assert "it is revoked" in failed(1, "client", "renew", "compute-17", *words)
    again = ("client", "enroll", "compute-17", "--project", "*", "--node", "n1", *words)
    assert run(*again).exit_code == 0
    assert document("client", "show", "compute-17")["revoked_at"] is None


def test_without_a_list_nobody_is_enrolled(installation: str) -> None:
    del installation
    request = run("client", "init", **HOST).stdout
    words = ("client", "enroll", "c", "--request", "-", "--project", "*", "--node", "n", *WHO)
    assert "no trust list" in failed(1, *words, stdin=request)


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize("what", ["revoke", "renew", "show"])
def test_of_an_unknown_client_there_is_nothing_to_do(what: str) -> None:
    request = run("client", "init", **HOST).stdout
    options = {"revoke": WHO, "renew": ("--request", "-", *WHO), "show": ()}[what]
    assert "no client nobody" in failed(1, "client", what, "nobody", *options, stdin=request)


@pytest.mark.usefixtures("trusting")
def test_a_record_that_somebody_has_edited_is_not_believed(store: FilledStore) -> None:
    enrolled()
    record = store.client.hget("km:clients", "compute-17")
    store.client.hset("km:clients", "compute-17", record.replace(b'"n1"', b'"n2"'))
    assert "fails authentication" in failed(1, "client", "show", "compute-17")


@pytest.mark.parametrize(
    ("output", "said"), [("fd:99", "no open file descriptor"), ("there.bin", "already exists")]
)
def test_a_key_goes_where_it_can_be_written(output: str, said: str) -> None:
    Path("there.bin").touch()
    words = ("client", "get", "volume:v1", "--project", "p1", "--output", output)
    assert said in failed(2, *words, broker__url="amqp://127.0.0.1:1/")


@pytest.mark.parametrize(
    ("project", "item", "purpose"),
    [("p 1", "v1", "x"), ("p1", "v 1", "x"), ("p1", "v1", "x" * 256)],
    ids=["project", "item", "purpose"],
)
def test_what_cannot_be_asked_for_is_wrong_usage(project: str, item: str, purpose: str) -> None:
    identity = Identity.generate("2026-01-01T00:00:00.000Z")
    identity.write(Path("identity.json"))
    root = RootKey.generate("2026-01-01T00:00:00.000Z").public
    installation = "1d8f7e52-0000-4000-8000-000000000001"
    pinned = Enrolment(
        installation, "c", identity.public.fingerprint, root, "2026-01-01T00:00:00.000Z"
    )
    pinned.write(Path("enrolment.json"))
    words = ("client", "get", f"volume:{item}", "--project", project, "--purpose", purpose)
    said = failed(2, *words, "--output", "k", broker__url="amqp://127.0.0.1:1/", **HOST)
    assert "data." in said


class Doubtful:
    """Keys whose answers do not hold."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        pass

    def get(self, *_asked: object, **_how: object) -> None:
        raise Untrusted("an answer's signature does not hold", "enroll this host anew")


def test_an_answer_that_does_not_hold_is_not_taken_for_a_refusal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(getting, "open_keys", lambda _settings: Doubtful())
    words = ("client", "get", "volume:v1", "--project", "p1", "--output", "k")
    said = failed(2, *words, broker__url="amqp://127.0.0.1:1/", **HOST)
    assert "signature does not hold" in said
