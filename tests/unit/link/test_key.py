"""The key pair of a session."""

from ktpy.link.key import make_key


def test_keys_are_fresh_and_hidden() -> None:
    one, other = make_key(), make_key()
    assert one.public_line != other.public_line
    assert one.public_line.startswith("ssh-ed25519 AAAA")
    assert "\n" not in one.public_line
    assert "private" not in repr(one)
