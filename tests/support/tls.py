"""Certificates for servers on loopback."""

import ssl
import subprocess
from pathlib import Path

import pytest


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a self-signed certificate for an address; skip where there is no openssl."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    kind = "IP" if name.replace(".", "").isdigit() else "DNS"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    command += ["-keyout", str(key), "-out", str(cert), "-addext", f"subjectAltName={kind}:{name}"]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl to make a certificate with")
    return key, cert


def server_tls(key: Path, cert: Path) -> ssl.SSLContext:
    """Return what a server with that certificate is run with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context
