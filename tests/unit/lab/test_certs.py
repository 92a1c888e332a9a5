"""Certificates and kubeconfigs."""

import base64
import json
import ssl
import stat
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from tests.lab import certs


def test_a_client_certificate_names_user_and_groups() -> None:
    authority = certs.Authority.create()
    config = json.loads(authority.kubeconfig("https://10.99.0.1:6443", certs.Client("alice", ("a", "b"))))
    data = config["users"][0]["user"]["client-certificate-data"]
    subject = x509.load_pem_x509_certificate(base64.b64decode(data)).subject
    assert [item.value for item in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["alice"]
    assert [item.value for item in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == ["a", "b"]


def test_a_written_authority_signs_on_after_it_is_read_again(tmp_path: Path) -> None:
    written = certs.write_cluster_pki(tmp_path / "pki", "https://10.99.0.1:6443")
    read = certs.Authority.load(tmp_path / "pki")
    certificate, _ = read.issue(certs.Client("alice"))
    x509.load_pem_x509_certificate(certificate).verify_directly_issued_by(written.certificate)


def test_nobody_else_reads_the_keys(tmp_path: Path) -> None:
    certs.write_cluster_pki(tmp_path / "pki", "https://10.99.0.1:6443")
    assert stat.S_IMODE((tmp_path / "pki").stat().st_mode) == 0o700


def test_openssl_takes_the_serving_pair(tmp_path: Path) -> None:
    certs.write_cluster_pki(tmp_path / "pki", "https://10.99.0.1:6443")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "pki" / "ca.crt"))
    context.load_cert_chain(tmp_path / "pki" / "apiserver.crt", tmp_path / "pki" / "apiserver.key")
