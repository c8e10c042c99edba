"""A certificate is checked when it is read, and read again when its files have changed."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chatbackend.bootstrap import operate
from chatbackend.config import BadSetting, load
from chatbackend.infra.web.certificate import BadCertificate, Certificate
from tests.support.tls import DAY, certificate


def refusal(chain: Path, key: Path) -> str:
    with pytest.raises(BadSetting) as refused:
        operate.certificate(load({"CHATBACKEND_TLS_CERT": str(chain), "CHATBACKEND_TLS_KEY": str(key)}))
    assert "CHATBACKEND_TLS_CERT" in str(refused.value)
    return str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    key, cert = certificate(tmp_path, "localhost")
    assert "nothing.pem' cannot be read (No such file" in refusal(cert, tmp_path / "nothing.pem")
    assert "nothing.pem' cannot be read (No such file" in refusal(tmp_path / "nothing.pem", key)
    assert f"'{tmp_path}' cannot be read (Is a directory)" in refusal(tmp_path, key)


def test_what_is_no_certificate_is_named(tmp_path: Path) -> None:
    key, cert = certificate(tmp_path, "localhost")
    assert "no PEM certificate" in refusal(key, key)
    (tmp_path / "odd").write_bytes(b"\xff\x00 not PEM")
    assert "no PEM certificate" in refusal(tmp_path / "odd", key)
    assert "no PEM certificate" in refusal(cert, tmp_path / "odd")


def test_the_key_of_another_is_named(tmp_path: Path) -> None:
    _, cert = certificate(tmp_path / "one", "localhost")
    key, _ = certificate(tmp_path / "other", "localhost")
    assert f"the key in '{key}' is not that of '{cert}'" in refusal(cert, key)


def test_nobody_is_asked_for_a_passphrase(tmp_path: Path) -> None:
    key, cert = certificate(tmp_path, "localhost", passphrase="secret")
    assert "has a passphrase" in refusal(cert, key)


def test_a_key_alone_is_refused() -> None:
    with pytest.raises(BadSetting, match="CHATBACKEND_TLS_KEY is set, but CHATBACKEND_TLS_CERT is not"):
        load({"CHATBACKEND_TLS_KEY": "key.pem"})


def test_it_knows_how_long_it_is_valid(tmp_path: Path) -> None:
    key, cert = certificate(tmp_path, "localhost", left=2 * DAY)
    left = Certificate(cert, key).valid_until() - datetime.now(UTC)
    assert timedelta(days=1, hours=23) < left < timedelta(days=2, minutes=1)
    certificate(tmp_path, "localhost", left=-DAY)
    with pytest.raises(BadCertificate, match="certificate has expired"):
        Certificate(cert, key).valid_until()


def test_what_cannot_be_used_changes_nothing_and_is_told_once(tmp_path: Path) -> None:
    key, cert = certificate(tmp_path, "localhost")
    found = Certificate(cert, key)
    began = found.valid_until()
    other, _ = certificate(tmp_path / "other", "localhost")
    key.write_bytes(other.read_bytes())
    with pytest.raises(BadCertificate, match="is not that of"):
        found.look()
    found.look()
    certificate(tmp_path, "localhost", left=3 * DAY)
    found.look()
    assert found.valid_until() - began > timedelta(hours=23)
    assert isinstance(found.context, ssl.SSLContext)
