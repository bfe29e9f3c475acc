"""Certificates of an authority of one's own, for servers of the tests that speak TLS."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from testbed.serving import HOST

YEAR = timedelta(days=365)


@dataclass(frozen=True)
class Certified:
    """A server's certificate with its key, and the certificate of the authority that signed it."""

    certificate: Path
    key: Path
    authority: Path


def certify(folder: Path, *, host: str = HOST, ends_in: timedelta = YEAR) -> Certified:
    """A certificate for this address, signed by a new authority."""
    folder.mkdir(parents=True)
    made = Certified(folder / "server.pem", folder / "server.key", folder / "authority.pem")
    own, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    above = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority of one's own")])
    authority = _begin(above, own, YEAR).issuer_name(above)
    authority = authority.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
    server = _begin(x509.Name([]), key, ends_in).issuer_name(above).add_extension(names, critical=True)
    made.authority.write_bytes(_pem(authority.sign(own, hashes.SHA256())))
    made.certificate.write_bytes(_pem(server.sign(own, hashes.SHA256())))
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return made


def _begin(name: x509.Name, key: ec.EllipticCurvePrivateKey, ends_in: timedelta) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    begun = x509.CertificateBuilder().subject_name(name).public_key(key.public_key())
    begun = begun.serial_number(x509.random_serial_number())
    return begun.not_valid_before(now - YEAR).not_valid_after(now + ends_in)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
