"""The cluster's certificates, and kubeconfigs made of them."""

import base64
import datetime
import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.lab.layout import (
    API_SERVICE_IPV4,
    API_SERVICE_IPV6,
    CLUSTER_DOMAIN,
    NODE_IPV4,
    NODE_IPV6,
    NODE_NAME,
)

LIFETIME = datetime.timedelta(days=3650)
BACKDATE = datetime.timedelta(days=3)  # a laptop whose clock is days behind takes them for valid too

API_SERVER_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    f"kubernetes.default.svc.{CLUSTER_DOMAIN}",
    "localhost",
    NODE_IPV4,
    NODE_IPV6,
    API_SERVICE_IPV4,
    API_SERVICE_IPV6,
    "127.0.0.1",
)


@dataclass(frozen=True)
class Client:
    """Whom Kubernetes sees: common name and groups of a client certificate."""

    user: str
    groups: tuple[str, ...] = ()


ADMIN = Client("admin", ("system:masters",))
COMPONENT_CLIENTS = {
    "admin": ADMIN,
    "kube-controller-manager": Client("system:kube-controller-manager"),
    "kube-scheduler": Client("system:kube-scheduler"),
    "kube-proxy": Client("system:kube-proxy"),
    "kubelet": Client(f"system:node:{NODE_NAME}", ("system:nodes",)),
}


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _alternative_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@dataclass(frozen=True)
class Authority:
    """The cluster's certificate authority."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def create(cls) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ktpy lab")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(now + LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(authority=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(key, certificate)

    @classmethod
    def load(cls, directory: Path) -> "Authority":
        key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("the lab's authority signs with an elliptic curve")
        return cls(key, x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes()))

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, client: Client, names: Sequence[str] = ()) -> tuple[bytes, bytes]:
        """Certificate and key in PEM: of a server when it has names, else of a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in client.groups]
        subject.append(x509.NameAttribute(NameOID.COMMON_NAME, client.user))
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if names else ExtendedKeyUsageOID.CLIENT_AUTH
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(subject))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(now + LIFETIME)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_alternative_name(name) for name in names]), critical=False
            )
        certificate = builder.sign(self.key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM), _private_pem(key)

    def kubeconfig(self, server_url: str, client: Client) -> str:
        """A kubeconfig (JSON is YAML) that authenticates `client` by certificate."""
        certificate, key = self.issue(client)

        def encoded(data: bytes) -> str:
            return base64.b64encode(data).decode()

        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {"name": "lab", "cluster": {"server": server_url, "certificate-authority-data": encoded(self.pem)}}
                ],
                "users": [
                    {
                        "name": client.user,
                        "user": {"client-certificate-data": encoded(certificate), "client-key-data": encoded(key)},
                    }
                ],
                "contexts": [
                    {"name": "lab", "context": {"cluster": "lab", "user": client.user, "namespace": "default"}}
                ],
                "current-context": "lab",
            },
            indent=2,
        )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_encipherment=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def write_cluster_pki(directory: Path, server_url: str) -> Authority:
    """Everything the components need: the authority, serving pairs, client kubeconfigs, the token-signing key."""
    directory.mkdir(mode=0o700, exist_ok=True)
    authority = Authority.create()
    (directory / "ca.crt").write_bytes(authority.pem)
    (directory / "ca.key").write_bytes(_private_pem(authority.key))
    pairs = {
        "apiserver": authority.issue(Client("kube-apiserver"), API_SERVER_NAMES),
        "kubelet": authority.issue(Client(NODE_NAME), (NODE_NAME, NODE_IPV4, NODE_IPV6, "127.0.0.1")),
        "apiserver-kubelet-client": authority.issue(Client("apiserver-kubelet-client", ("system:masters",))),
        "admin": authority.issue(ADMIN),
    }
    for name, (certificate, key) in pairs.items():
        (directory / f"{name}.crt").write_bytes(certificate)
        (directory / f"{name}.key").write_bytes(key)
    token_key = ec.generate_private_key(ec.SECP256R1())
    (directory / "service-account.key").write_bytes(_private_pem(token_key))
    (directory / "service-account.pub").write_bytes(_public_pem(token_key))
    for name, client in COMPONENT_CLIENTS.items():
        (directory / f"{name}.kubeconfig").write_text(authority.kubeconfig(server_url, client))
    return authority
