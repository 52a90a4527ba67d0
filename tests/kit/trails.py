"""Trails to test with: lines as an auditor writes them, and a key."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kmworker.audit.checkpoints import Checkpoint, sign
from kmworker.audit.lines import GENESIS, Tip, append, content_of
from kmworker.crypto.audit_key import AuditKey
from kmworker.domain.audit import Act, Actor, ActorKind, AuditRecord
from kmworker.wire.audit_records import audit_message

AT = "2026-11-30T16:00:00.000Z"
WRITER = "key-server@keys01/1-00"
TRAIL = "0123456789abcdef" * 2
SEGMENT = "audit-0000000000000000001.jsonl"
KEY = AuditKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER_KEY = AuditKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))


def body(number: int, writer: str = WRITER, **fields: str) -> bytes:
    """Return a record's bytes."""
    who = Actor(ActorKind.CLIENT, fields.pop("client", "compute-17"))
    record = AuditRecord(Act.KEY_DELIVERED, who, AT, **fields)  # type: ignore[arg-type]
    return audit_message(record, writer, number, "/kmworker", "kmworker.audit").body


class Chain:
    """Lines, one after the other."""

    def __init__(self) -> None:
        """Begin a trail."""
        self.tip: Tip = GENESIS
        self.lines: list[bytes] = []
        self.add("segment", b'{"trail":"%s","key":"%s","writers":{}}' % (
            TRAIL.encode(), KEY.public.encode()
        ))  # fmt: skip

    def add(self, kind: str, content: bytes, at: str = AT) -> None:
        """Add a line."""
        line, self.tip = append(self.tip, content_of(self.tip.number + 1, at, kind, content))
        self.lines.append(line)

    def record(self, *numbers: int, writer: str = WRITER, at: str = AT) -> None:
        """Add records under these numbers."""
        for number in numbers:
            self.add("record", body(number, writer), at)

    def checkpoint(self, key: AuditKey = KEY, trail: str = TRAIL) -> Checkpoint:
        """Sign what is there, as somebody keeps it elsewhere."""
        return sign(key, trail, SEGMENT, self.tip, AT)

    def sign(self, key: AuditKey = KEY) -> None:
        """Sign what is there, as a line."""
        self.add("checkpoint", self.checkpoint(key).body)


def chain_of(records: int, every: int = 0) -> Chain:
    """Return a trail of so many records, signed each ``every`` of them."""
    chain = Chain()
    for number in range(1, records + 1):
        chain.record(number)
        if every and number % every == 0:
            chain.sign()
    return chain


def lay_trail(folder: Path) -> None:
    """Write a trail of three records, signed, into a folder."""
    chain = Chain()
    for number, project in enumerate(("p1", "p2", "p1"), start=1):
        key_id = f"c0b7e0a4-6f0c-4b1e-9f57-{number:012}"
        chain.add("record", body(number, project=project, item=f"volume:v{number}", key_id=key_id))
    chain.sign()
    folder.mkdir(mode=0o700)
    (folder / SEGMENT).write_bytes(b"".join(line + b"\n" for line in chain.lines))
