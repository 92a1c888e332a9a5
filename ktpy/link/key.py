"""The key pair of one session, made without asyncssh, whose import the creation of the pod does not wait for."""

from dataclasses import field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from ktpy.frozen import dataclass


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A ClientKey exists in this process's memory only."""

    private_pem: bytes = field(repr=False)
    """In OpenSSH's format, unencrypted."""
    public_line: str
    """As in authorized_keys: `ssh-ed25519 AAAA...`."""


def make_key() -> ClientKey:
    private = Ed25519PrivateKey.generate()
    return ClientKey(
        private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
        private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(),
    )
