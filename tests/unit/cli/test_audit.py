"""``kmworker audit``: what it shows, what it finds, and what it tells a program."""

import json
from pathlib import Path

import pytest

from kmworker.audit.lines import read_line
from kmworker.crypto.audit_key import AuditKey, signature_holds
from kmworker.errors import SetupError
from tests.kit.cli.stand import document, failed, run, said
from tests.kit.trails import KEY, OTHER_KEY, SEGMENT, Chain, body, chain_of, lay_trail


@pytest.fixture
def trail(folder: Path) -> Path:
    """A trail where the settings look for one; in the file, for whoever spoils it."""
    lay_trail(folder / "audit")
    return folder / "audit" / SEGMENT


def lines_in(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def spoil(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


# --- verify ---------------------------------------------------------------------------


def test_a_changed_line_is_named(trail: Path) -> None:
    spoil(trail, b'"project_id":"p2"', b'"project_id":"p3"')
    code, out, _ = said(run("audit", "verify"))
    assert code == 1
    assert "FAILED   line 3 changed" in out
    assert document("audit", "verify", code=1)["fault"]["line"] == 3


def test_a_trail_by_another_key_is_not_the_auditors(trail: Path, folder: Path) -> None:
    assert run("audit", "verify", "--key", KEY.public).exit_code == 0
    code, out, _ = said(run("audit", "verify", "--key", OTHER_KEY.public))
    assert code == 1
    assert "signed by another key" in out
    (folder / "auditor.pub").write_text(f"audit key made; its public half:\n{KEY.public}\n")
    assert run("audit", "verify", "--key", "auditor.pub").exit_code == 0


def test_without_a_key_it_says_whose_word_it_takes(trail: Path) -> None:
    assert "as the trail itself says: see --key" in run("audit", "verify").stdout


@pytest.mark.parametrize("logged", [False, True])
def test_a_checkpoint_from_elsewhere_shows_an_end_that_was_cut_off(
    trail: Path, folder: Path, logged: bool
) -> None:
    (kept,) = [read_line(it[:-1]).fields["checkpoint"] for it in lines_in(trail)[-1:]]
    said_so = {"event": "checkpoint", "checkpoint": kept} if logged else kept
    (folder / "kept.jsonl").write_text(f"\n{json.dumps(said_so)}\n")
    assert run("audit", "verify", "--checkpoint", "kept.jsonl").exit_code == 0
    trail.write_bytes(b"".join(lines_in(trail)[:2]))
    assert run("audit", "verify").exit_code == 0
    found = document("audit", "verify", "--checkpoint", "kept.jsonl", code=1)
    assert (found["fault"]["kind"], found["fault"]["line"]) == ("cut off", 3)


@pytest.mark.parametrize("content", ["{}", "[]", "no JSON", '{"checkpoint": 1}', "[" * 9999])
def test_what_is_no_checkpoint_is_refused(trail: Path, folder: Path, content: str) -> None:
    (folder / "kept.jsonl").write_text(content)
    err = failed(2, "audit", "verify", "--checkpoint", "kept.jsonl")
    assert "line 1: not a checkpoint" in err


def test_a_line_that_is_being_written_is_no_fault(trail: Path) -> None:
    whole = trail.read_bytes()
    trail.write_bytes(whole + whole[:100])
    assert run("audit", "verify").exit_code == 0
    # Of a file by itself, nobody is writing it.
    assert run("audit", "verify", str(trail)).exit_code == 1


def test_gaps_alarms_and_what_is_not_signed_are_told(folder: Path) -> None:
    chain = chain_of(2, every=2)
    chain.record(4, at="2026-11-30T18:00:00.000Z")
    chain.record(7, at="2026-11-30T20:00:00.000Z")
    chain.add("unreadable", b"{}")
    (folder / "audit").mkdir()
    (folder / "audit" / SEGMENT).write_bytes(b"".join(line + b"\n" for line in chain.lines))
    code, out, _ = said(run("audit", "verify"))
    assert code == 1
    assert "signed   up to line 3, on 2026-11-30T16:00:00.000Z; 3 lines after it" in out
    assert "missing  numbers 3 to 3 of key-server@keys01/1-00, before line 5: they never" in out
    assert "awaited  numbers 5 to 6 of key-server@keys01/1-00" in out
    assert "alarm    line 7: a message came that is no record" in out
    told = document("audit", "verify", code=1)
    assert (told["missing"][0]["first"], told["awaited"][0]["last"]) == (3, 6)


# --- tail -----------------------------------------------------------------------------


def test_tail_shows_the_last_lines_that_are_wanted(trail: Path) -> None:
    code, out, _ = said(run("audit", "tail", "--lines", "3", "--project", "p1"))
    assert code == 0
    assert out == (
        "2026-11-30T16:00:00.000Z  key-delivered  done  client:compute-17  p1  volume:v3  -\n"
    )
    assert said(run("audit", "tail", "--client", "another")) == (0, "", "")
    assert run("audit", "tail", "--what", "key-refused").stdout == ""
    key_id = f"c0b7e0a4-6f0c-4b1e-9f57-{2:012}"
    assert "volume:v2" in run("audit", "tail", "--key-id", key_id).stdout


def test_tail_for_a_program_gives_the_lines_as_they_are(trail: Path) -> None:
    assert run("audit", "tail", "--json").stdout.encode() == trail.read_bytes()


def test_tail_says_which_line_is_not_as_it_was_written_and_goes_on(trail: Path) -> None:
    spoil(trail, b'"project_id":"p2"', b'"project_id":"p3"')
    _code, out, err = said(run("audit", "tail"))
    assert out.count("\n") == 2
    assert "not as it was written" in err


def test_tail_shows_what_the_auditor_itself_has_found(folder: Path) -> None:
    chain = Chain()
    chain.record(1)
    chain.add("conflicting", body(1, client="another"))
    chain.add("unreadable", b"{}")
    (folder / "audit").mkdir()
    (folder / "audit" / SEGMENT).write_bytes(b"".join(line + b"\n" for line in chain.lines))
    out = run("audit", "tail").stdout
    assert "client:another  -  -  -  (under a number that was taken)\n" in out
    assert "a message that is no record\n" in out


# --- export ---------------------------------------------------------------------------


def test_an_export_is_its_users_alone_and_verified_by_itself(trail: Path, folder: Path) -> None:
    export = ("audit", "export", "--output", "p2.jsonl", "--project", "p2")
    assert run(*export).exit_code == 0
    assert (folder / "p2.jsonl").stat().st_mode & 0o777 == 0o600
    assert b'"p1"' not in (folder / "p2.jsonl").read_bytes()
    found = document("audit", "verify", "p2.jsonl")
    assert (found["ok"], found["records"], found["omitted"]) == (True, 1, 2)
    assert "name a file that is not there" in failed(2, *export)


def test_an_export_of_a_damaged_trail_is_refused(trail: Path) -> None:
    spoil(trail, b'"project_id":"p2"', b'"project_id":"p3"')
    err = failed(2, "audit", "export", "--output", "all.jsonl")
    assert "not as it was written" in err
    assert "kmworker audit verify names it" in err


def test_an_export_is_of_times_at_which_records_came(trail: Path) -> None:
    assert run("audit", "export", "--output", "a.jsonl", "--until", "2026-11-29").exit_code == 0
    assert document("audit", "verify", "a.jsonl")["records"] == 0
    err = failed(1, "audit", "export", "--output", "b.jsonl", "--since", "2026-12-01")
    assert "nothing came into the trail in that time" in err
    assert not Path("b.jsonl").exists()
    Path("b.jsonl").touch()
    assert document("audit", "verify", "b.jsonl", code=1)["fault"]["detail"] == "there is nothing"


def test_reading_where_one_may_not_says_whose_right_it_is(
    trail: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refused)
    assert "a right of its own" in failed(2, "audit", "tail")


# --- the key --------------------------------------------------------------------------


def test_the_key_is_made_once_for_its_user_alone(folder: Path) -> None:
    code, out, _ = said(run("auditor", "--init"))
    assert code == 0
    key = AuditKey.load(folder / "audit-key.json")
    assert out.splitlines()[-1] == key.public
    assert (folder / "audit-key.json").stat().st_mode & 0o777 == 0o600
    assert signature_holds(key.public, b"x", key.sign(b"x"))
    assert "already exists" in failed(2, "auditor", "--init")


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b'{"document":"kmworker/audit-key","version":1,"sign":"00"}', b"[" * 9999],
)
def test_a_damaged_key_is_refused_without_showing_it(folder: Path, content: bytes) -> None:
    path = folder / "audit-key.json"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(SetupError, match=r"^audit key"):
        AuditKey.load(path)


def test_a_key_whose_halves_do_not_agree_is_refused(folder: Path) -> None:
    path = folder / "audit-key.json"
    key = AuditKey.generate(path)
    spoil(path, key.public.encode(), OTHER_KEY.public.encode())
    with pytest.raises(SetupError, match="damaged"):
        AuditKey.load(path)


def test_a_key_that_others_may_read_is_refused(folder: Path) -> None:
    path = folder / "audit-key.json"
    AuditKey.generate(path)
    path.chmod(0o644)
    with pytest.raises(SetupError, match="open to group or others"):
        AuditKey.load(path)


@pytest.mark.parametrize("what", ["public", "data", "signature"])
def test_a_signature_holds_for_nothing_else(what: str) -> None:
    given = {"public": KEY.public, "data": b"x", "signature": KEY.sign(b"x")}
    assert signature_holds(**given)  # type: ignore[arg-type]  # as they are called
    other = {"public": OTHER_KEY.public, "data": b"y", "signature": KEY.sign(b"y")}
    assert not signature_holds(**{**given, what: other[what]})  # type: ignore[arg-type]  # as above
    assert not signature_holds("no hex", b"x", given["signature"])  # type: ignore[arg-type]


def test_an_installation_of_one_machine_has_no_auditor(folder: Path) -> None:
    AuditKey.generate(folder / "audit-key.json")
    err = failed(2, "auditor", broker__url="redis://127.0.0.1")
    assert "with kmworker up, its key server writes the audit trail" in err
