"""The key pair of a session."""

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

from ktpy.link.key import make_key


def test_keys_are_fresh_and_hidden() -> None:
    one, other = make_key(), make_key()
    assert one.public_line != other.public_line
    assert one.public_line.startswith("ssh-ed25519 AAAA")
    assert "\n" not in one.public_line
    assert "private" not in repr(one)


def test_both_halves_are_in_the_formats_of_openssh() -> None:
    key = make_key()
    public = load_ssh_private_key(key.private_pem, None).public_key()
    assert public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() == key.public_line
