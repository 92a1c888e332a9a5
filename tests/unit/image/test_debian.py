from pathlib import Path

import pytest

from ktpy.image import debian

TARGETS = """\
Debian|http://mirror.test/debian/|bookworm|main
Debian|http://mirror.test/debian/|bookworm|main
Debian|http://mirror.test/security/|bookworm-security|main
Ubuntu|http://mirror.test/ubuntu/|noble|universe
Somebody|http://others.test/|stable|main
"""


def test_sources_are_those_of_the_machines_own_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "_keys", lambda origin: f"/keys/{origin}" if origin == "Debian" else None)
    old = {"ID": "debian", "VERSION_ID": "12", "VERSION_CODENAME": "bookworm"}
    assert list(debian.sources(TARGETS, old)) == [
        "deb [signed-by=/keys/Debian] http://mirror.test/debian/ trixie main",
        "deb [signed-by=/keys/Debian] http://mirror.test/security/ trixie-security main",
    ]
    mint = {"ID": "linuxmint", "ID_LIKE": "ubuntu", "VERSION_ID": "22", "VERSION_CODENAME": "wilma"}
    assert list(debian.sources(TARGETS, mint)) == ["deb http://mirror.test/ubuntu/ noble universe"]
    assert list(debian.sources("", old)) == []


def test_keys_are_the_distributions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda path: path.name == "debian-archive-keyring.gpg")
    assert debian._keys("Debian") == "/usr/share/keyrings/debian-archive-keyring.gpg"
    assert debian._keys("Ubuntu") is None
