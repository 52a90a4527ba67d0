"""`kmworker demo`: the main job, from nothing, in one command."""

import os
import subprocess
import sys
from pathlib import Path

from kmworker.sample import SAMPLE


def test_the_demonstration_shows_each_disposition_and_what_went_wrong(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kmworker", "demo"],
        env={**os.environ, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"published {len(SAMPLE)} events; assignments as they arrive:"
    told = {line.split()[0]: line.split()[1:4:2] for line in lines[1 : lines.index("")]}
    assert told == {
        "volume:db": ["create", "blank-volumes-get-a-key"],
        "snapshot:mon": ["reuse", "snapshots-share-the-key-id"],
        "snapshot:tue": ["reuse", "snapshots-share-the-key-id"],
        "volume:db-test": ["clone", "derived-volumes-get-a-clone"],
        "volume:db-copy": ["clone", "derived-volumes-get-a-clone"],
        "replica:db@paris": ["reuse", "replicas-share-the-key-id"],
        "replica:mon@paris": ["reuse", "replicas-share-the-key-id"],
        "replica:db@oslo": ["create", "reencrypted-replicas-get-a-key"],
        "partition:4711": ["create", "partitions-get-a-key"],
        "replica:4711@obj-1": ["reuse", "partition-replicas-share-the-key-id"],
        "replica:4711@obj-2": ["reuse", "partition-replicas-share-the-key-id"],
        "replica:4711@obj-3": ["reuse", "partition-replicas-share-the-key-id"],
        "volume:db-lent": ["create", "guard:cross-project"],
    }
    assert "  snapshot:lost  waits for volume:unknown" in lines
    assert "  malformed: the body is not JSON" in lines
    assert not list(tmp_path.glob("kmworker-demo-*"))
