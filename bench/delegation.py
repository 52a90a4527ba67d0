"""What a delivery costs in CPU time, part by part: python -m bench.delegation.

Beside X-Wing stands X25519 alone, for comparison: the product has no such suite. One process,
no servers; ratios within one run are what counts on a machine that is not idle.
"""

import os
from collections.abc import Callable, Mapping
from time import process_time

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from bench.tables import table
from kmworker.delegation.requests import SignedMessage, sign_request, signer_of, understood
from kmworker.delegation.sealing import seal
from kmworker.delegation.signing import holds
from kmworker.wire.requests.request import DIRECT_REPLY
from kmworker.wire.requests.types import KeyRequested
from tests.kit.delegation_vectors import (
    AT,
    CLIENT,
    HOST,
    INSTALLATION,
    KEY,
    LIST,
    NOW_S,
    REQUEST,
    SERVER,
    VOLUME,
    signer,
)
from tests.kit.delivery import check, deliver

ROUNDS = 7
TIMES = 200
INFO = b"i" * 300
CLASSICAL = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def measured_us(act: Callable[[], object]) -> float:
    """Return the CPU time of one call, in microseconds: the least of several rounds."""
    rounds = []
    for _ in range(ROUNDS):
        before = process_time()
        for _ in range(TIMES):
            act()
        rounds.append((process_time() - before) / TIMES)
    return 1e6 * min(rounds)


def acts() -> dict[str, Callable[[], object]]:
    """Return what is measured, by what it is called."""
    classical = X25519PrivateKey.generate()
    public = classical.public_key()
    sealed = seal(KEY, HOST.public.seal, INFO)
    classically = CLASSICAL.encrypt(KEY, public, info=INFO)
    asking = KeyRequested(project_id=VOLUME.project, item=VOLUME, reply_to=DIRECT_REPLY, time=AT)
    message = SignedMessage(REQUEST.body, CLIENT, REQUEST.signature)
    server = signer()
    answer = deliver(by=server)

    def take() -> object:
        assert signer_of(message, CLIENT, [HOST.public], INSTALLATION) == HOST.public
        return understood(message.body, CLIENT, NOW_S)

    signed = SERVER.sign("bench", AT)
    return {
        "sign, Ed25519": lambda: SERVER.sign("bench", AT),
        "check a signature, Ed25519": lambda: holds(SERVER.public.sign, signed, "bench", AT),
        "seal, X-Wing": lambda: seal(KEY, HOST.public.seal, INFO),
        "seal, X25519 alone": lambda: CLASSICAL.encrypt(KEY, public, info=INFO),
        "open, X-Wing": lambda: HOST.open(sealed, INFO),
        "open, X25519 alone": lambda: CLASSICAL.decrypt(classically, classical, info=INFO),
        "client: make and sign a request": lambda: sign_request(asking, HOST, INSTALLATION, CLIENT),
        "key server: check and read a request": take,
        "key server: seal and sign a delivery": lambda: deliver(by=server),
        "client: check and open a delivery": lambda: check(answer, seen=LIST),
    }


def of_a_delivery(us: Mapping[str, float], kem: str) -> tuple[float, float]:
    """Return what cryptography takes of the key server and of the node, with this KEM."""
    # Each signs once, and checks what the other has signed.
    signing = us["sign, Ed25519"] + us["check a signature, Ed25519"]
    return signing + us[f"seal, {kem}"], signing + us[f"open, {kem}"]


def main() -> None:
    """Measure, and print."""
    us = {name: measured_us(act) for name, act in acts().items()}
    rows = [[name, f"{it:,.0f}"] for name, it in us.items()]
    print("\n".join(table(["what", "us of CPU time"], rows)))
    for kem in ("X-Wing", "X25519 alone"):
        server, node = of_a_delivery(us, kem)
        print(f"{kem}: {server:.0f} of a key server's delivery, {node:.0f} of a node's")
    sizes = len(REQUEST.body), len(deliver().body)
    print(f"a request has {sizes[0]:,} bytes, a delivery {sizes[1]:,}, with one key server listed")
    print(f"load average: {os.getloadavg()[0]:.1f}, of {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
