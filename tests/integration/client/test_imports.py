import subprocess
import sys

KEPT_OUT = {"cryptography", "hiredis", "redis", "kmworker.crypto", "kmworker.store"}

LIST_MODULES = """
import sys
import kmworker.client
print(*sys.modules)
"""


def test_the_library_brings_neither_a_store_nor_key_material() -> None:
    listed = subprocess.run(
        [sys.executable, "-c", LIST_MODULES], capture_output=True, check=True, text=True
    )
    imported = set(listed.stdout.split())
    assert "kmworker.client.subscriber" in imported
    assert imported.isdisjoint(KEPT_OUT)
