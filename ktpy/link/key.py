"""The key pair of one session, made without asyncssh, whose import the creation of the pod does not wait for."""

from base64 import b64encode
from dataclasses import field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ktpy.frozen import dataclass

_TYPE = b"ssh-ed25519"


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A ClientKey exists in this process's memory only."""

    private: Ed25519PrivateKey = field(repr=False)
    public_line: str
    """As in authorized_keys: `ssh-ed25519 AAAA...`."""

    @property
    def private_pem(self) -> bytes:
        """The private key in OpenSSH's format, unencrypted."""
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        return self.private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def make_key() -> ClientKey:
    private = Ed25519PrivateKey.generate()
    # The `serialization` of cryptography takes as long to be imported as the rest of it.
    strings = (_TYPE, private.public_key().public_bytes_raw())  # RFC 8709, section 4
    encoded = b64encode(b"".join(len(one).to_bytes(4, "big") + one for one in strings))
    return ClientKey(private, f"{_TYPE.decode()} {encoded.decode()}")
