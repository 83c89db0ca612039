"""Certificates are those of the name, though the connection is made to an address."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from onloop import http
from onloop.http import clients
from tests.http.upstream import Upstream

HOST = "127.0.0.2"


def issue(name, *, issuer=None, issuer_key=None):
    """A certificate and its key; its own issuer if none is given."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(
                (issuer_key or key).public_key()
            ),
            critical=False,
        )
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=issuer is None,
                crl_sign=issuer is None,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    return builder.sign(issuer_key or key, hashes.SHA256()), key


@pytest.fixture
async def secure(tmp_path, monkeypatch, configure):
    """A server with a certificate for `named.example`, whose authority is trusted."""
    authority, authority_key = issue("an authority")
    certificate, key = issue("named.example", issuer=authority, issuer_key=authority_key)
    pem = serialization.Encoding.PEM
    (tmp_path / "authority.pem").write_bytes(authority.public_bytes(pem))
    (tmp_path / "server.pem").write_bytes(
        certificate.public_bytes(pem)
        + key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    clients.tls.cache_clear()
    server = Upstream(HOST, tls=context).start()
    configure(PUBLIC_ALLOW=[f"{HOST}/32"], PUBLIC_PORTS=[server.port], RETRIES=0)
    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo

    async def getaddrinfo(host, port, **kwargs):
        if host.endswith(".example"):
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (HOST, port))]
        return await real(host, port, **kwargs)

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    yield server
    await http.aclose()
    server.stop()
    clients.tls.cache_clear()


async def test_the_certificate_of_the_name_is_accepted(secure):
    for _ in range(2):
        response = await http.public_client().get(f"https://named.example:{secure.port}/echo")
        assert response.json()["headers"]["host"] == f"named.example:{secure.port}"
    assert secure.accepted == 1


@pytest.mark.parametrize("host", ["other.example", HOST])
async def test_one_of_another_name_is_not(secure, host):
    assert ipaddress.ip_address(HOST).is_loopback
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        await http.public_client().get(f"https://{host}:{secure.port}/ok")
    assert secure.requests == []


async def test_the_ordinary_client_verifies_too(secure):
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        await http.client().get(f"https://{HOST}:{secure.port}/ok")
