"""A certificate authority of the tests' own: nobody else trusts it, and it trusts nobody else."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

A_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Certificate:
    """One that was issued, and its key, in files."""

    path: Path
    key_path: Path


class Authority:
    """Issues certificates into a folder.

    Attributes:
        path: Its own certificate, for those who are to trust it.
    """

    def __init__(self, folder: Path) -> None:
        """Make its key and certificate."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "ca.pem"
        self._folder = folder
        self._name = _named("an authority of tests")
        self._key = generate_private_key(SECP256R1())
        self._public = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        itself = (
            self._draft(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_signing(), critical=True)
            .add_extension(self._public, critical=False)
        )
        self.path.write_bytes(itself.sign(self._key, SHA256()).public_bytes(Encoding.PEM))

    def issue(self, name: str, *hosts: str, expired: bool = False) -> Certificate:
        """Issue a certificate of this common name, for hosts by name or address."""
        key = generate_private_key(SECP256R1())
        issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._public)
        draft = self._draft(_named(name), key.public_key(), expired=expired)
        draft = draft.add_extension(issuer, critical=False)
        if hosts:
            draft = draft.add_extension(
                x509.SubjectAlternativeName(list(_alternatives(hosts))), critical=False
            )
        made = Certificate(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        made.path.write_bytes(draft.sign(self._key, SHA256()).public_bytes(Encoding.PEM))
        made.key_path.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        return made

    def _draft(
        self, subject: x509.Name, public_key: EllipticCurvePublicKey, *, expired: bool = False
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 2 * A_DAY)
            .not_valid_after(now - A_DAY if expired else now + A_DAY)
        )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternatives(hosts: tuple[str, ...]) -> Iterator[x509.GeneralName]:
    for host in hosts:
        try:
            yield x509.IPAddress(ip_address(host))
        except ValueError:
            yield x509.DNSName(host)


def _signing() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
