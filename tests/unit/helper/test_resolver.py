"""What the machine's resolver is, and why its file cannot be written. Setting it for real is in tests/net."""

import errno
from pathlib import Path

import pytest

from ktpy.errors import ResolverNotWritable
from ktpy.helper import resolved, resolver, snapshot
from ktpy.helper.protocol import Resolver


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "resolv.conf"
    monkeypatch.setattr(resolver, "RESOLV_CONF", path)
    return path


def test_a_plain_file(path: Path) -> None:
    path.write_text("nameserver 192.0.2.1\nsearch home\noptions ndots:2\n")
    assert resolver.detect() == Resolver("resolv.conf", "file", ("192.0.2.1",), ("home",), ("ndots:2",))


def test_a_file_without_a_server_means_this_machine(path: Path) -> None:
    path.write_text("search home\n")
    assert resolver.detect() == Resolver("resolv.conf", "file", ("127.0.0.1",), ("home",), ())


@pytest.mark.usefixtures("path")
def test_no_file() -> None:
    assert resolver.detect() == Resolver("resolv.conf", "absent", ("127.0.0.1",), (), ())


def test_resolved_in_charge_tells_the_servers_it_asks(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub, uplink = tmp_path / "stub", tmp_path / "uplink"
    stub.write_text("nameserver 127.0.0.53\nsearch home\n")
    uplink.write_text("nameserver 192.0.2.53\n")
    monkeypatch.setattr(resolved, "in_charge", lambda _: True)
    monkeypatch.setattr(resolved, "UPLINK_FILE", uplink)
    path.symlink_to(stub)
    assert resolver.detect() == Resolver("systemd-resolved", "symlink", ("192.0.2.53",), ("home",), ())


def test_a_file_that_cannot_be_read(path: Path) -> None:
    path.mkdir()
    with pytest.raises(ResolverNotWritable, match=r"resolv\.conf cannot be written \(Is a directory\)"):
        resolver.detect()


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize(
    ("code", "is_immutable", "message", "hint"),
    [
        (errno.EROFS, False, "is on a read-only file system", "--no-dns"),
        (errno.EPERM, True, "is protected against changes (chattr +i)", "sudo chattr -i"),
        (errno.EPERM, False, "cannot be written (Operation not permitted)", "--no-dns"),
        (errno.ENOSPC, True, "cannot be written (No space left on device)", "--no-dns"),
    ],
)
def test_why_it_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, code: int, is_immutable: bool, message: str, hint: str
) -> None:
    monkeypatch.setattr(snapshot, "is_immutable", lambda _: is_immutable)
    refused = resolver._not_writable(OSError(code, ""))
    assert message in refused.message
    assert refused.message.endswith("; ktpy left it as it is.")
    assert hint in (refused.hint or "")
