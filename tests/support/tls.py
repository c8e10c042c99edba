"""Certificates for servers on loopback."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


def certificate(folder: Path, name: str, *, left: timedelta = 2 * DAY, passphrase: str = "") -> tuple[Path, Path]:
    """Make a self-signed certificate for an address that is valid for the time `left`; return its key and itself."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    folder.mkdir(parents=True, exist_ok=True)
    private = ec.generate_private_key(ec.SECP256R1())
    named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    numeric = name.replace(".", "").isdigit()
    until = datetime.now(UTC) + left
    built = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(named)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(until - 4 * DAY)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address(name)) if numeric else x509.DNSName(name)]),
            critical=False,
        )
        .sign(private, hashes.SHA256())
    )
    lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        lock = serialization.BestAvailableEncryption(passphrase.encode())
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock))
    cert.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    return key, cert


def server_tls(key: Path, cert: Path) -> ssl.SSLContext:
    """Return what a server with that certificate is run with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context
