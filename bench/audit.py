"""How long the audit trail's queue lasts, and how fast a trail is written and verified.

    python -m bench.audit [RECORDS]

Writes a trail into a scratch folder on this disk, as an auditor does: one sync for a batch.
"""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kmworker.audit.auditor import BATCH
from kmworker.audit.files import TrailFiles, lines_of, segments_of
from kmworker.audit.verification import verify
from kmworker.bus.policies import SHIPPED_FOR_AUDIT
from kmworker.crypto.audit_key import AuditKey, signature_holds
from kmworker.domain.audit import Act, Actor, ActorKind, AuditRecord
from kmworker.wire.audit_records import audit_message

AT: Final = "2026-11-30T16:00:00.000Z"
WRITER: Final = "key-server@keys01/4711-9f1c2b3a4d5e6f70"
RATES: Final = (1, 10, 20, 50, 100, 1000)
HOUR_S: Final = 3600


def body(number: int) -> bytes:
    """Return a delivery's record, with ids as long as they are."""
    record = AuditRecord(
        Act.KEY_DELIVERED,
        Actor(ActorKind.CLIENT, "compute-17.eu1.example"),
        AT,
        request="0b6f3c52-8a0e-4d0b-9d0e-3f1c5b7a9e21",
        project="2f1d0a8cbb3d4e0f9a1b2c3d4e5f6a7b",
        item="volume:8f6b2c1e-5a41-4c3e-9a0f-6d1f5b0c2a11",
        key_id="c0b7e0a4-6f0c-4b1e-9f57-2d3f8f0a9b61",
        attachment_id="77aa1c52-8a0e-4d0b-9d0e-3f1c5b7a9e21",
    )
    return audit_message(record, WRITER, number, "/kmworker", "kmworker.audit").body


def tell_how_long_it_lasts() -> None:
    """Print how long an auditor may be away."""
    size = len(body(1_000_000))
    most = min(SHIPPED_FOR_AUDIT["max-length"], SHIPPED_FOR_AUDIT["max-length-bytes"] // size)
    print(f"a record has {size} bytes; the queue takes {most:,} of them")
    for rate in RATES:
        hours = most / rate / HOUR_S
        print(f"  {rate:>5} a second: {hours:>7.1f} h until it is full, half of that to the alarm")


def main(records: int) -> None:
    """Write, verify, go on."""
    tell_how_long_it_lasts()
    key = AuditKey(Ed25519PrivateKey.generate())
    with TemporaryDirectory(dir=".") as folder:
        directory = Path(folder) / "audit"
        files = TrailFiles(directory, key)
        files.open(time.time())
        bodies = [body(number) for number in range(1, records + 1)]
        began = time.monotonic()
        for at in range(0, records, BATCH):
            files.append([("record", it, "keyserver") for it in bodies[at : at + BATCH]], began)
        took = time.monotonic() - began
        print(f"written: {records / took:,.0f} records a second, {BATCH} with one sync")
        files.checkpoint(time.time())
        files.close()
        texts = [text for path in segments_of(directory) for text in lines_of(path)]
        line = sum(map(len, texts)) / len(texts)
        began = time.monotonic()
        assert verify(texts, (), signature_holds, from_start=True).is_good
        took = time.monotonic() - began
        print(f"verified: {len(texts) / took:,.0f} lines a second, of {line:.0f} bytes each")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000)
