"""What a machine that gives no TUN device is told. A real device is in the tests that have network namespaces."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from ktpy.errors import TunUnavailable
from ktpy.helper import tun


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file that stands for /dev/net/tun and is none."""
    path = tmp_path / "tun"
    path.touch()
    monkeypatch.setattr(tun, "DEVICE", path)
    return path


def descriptors() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


def test_no_device(device: Path) -> None:
    device.unlink()
    with pytest.raises(TunUnavailable, match="This machine has no TUN device") as raised:
        tun.open_device("ktpy0")
    assert "sudo modprobe tun" in (raised.value.hint or "")


def refusing(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def ioctl(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "ioctl", ioctl)


@pytest.mark.usefixtures("device")
def test_even_root_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    refusing(monkeypatch, errno.EPERM)
    with pytest.raises(TunUnavailable, match="Even root may not open") as raised:
        tun.open_device("ktpy0")
    assert "--cap-add NET_ADMIN" in (raised.value.hint or "")


@pytest.mark.usefixtures("device")
def test_a_kernel_without_bundles_of_datagrams_is_asked_for_those_of_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def ioctl(_: int, request: int, argument: object) -> None:
        if request == tun.TUNSETOFFLOAD:
            asked.append(argument)
            if len(asked) == 1:
                raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    os.close(tun.open_device("ktpy0"))
    tcp = tun.TUN_F_CSUM | tun.TUN_F_TSO4 | tun.TUN_F_TSO6
    assert asked == [tcp | tun.TUN_F_USO4 | tun.TUN_F_USO6, tcp]


@pytest.mark.usefixtures("device")
def test_another_refusal_is_quoted() -> None:
    with pytest.raises(TunUnavailable, match=os.strerror(errno.ENOTTY)):
        tun.open_device("ktpy0")


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize(("code", "expected"), [(errno.EBUSY, tun.InterfaceNameTaken), (errno.EINVAL, TunUnavailable)])
def test_the_descriptor_of_a_failure_is_closed(
    monkeypatch: pytest.MonkeyPatch, code: int, expected: type[Exception]
) -> None:
    refusing(monkeypatch, code)
    before = descriptors()
    with pytest.raises(expected):
        tun.open_device("ktpy0")
    assert descriptors() == before
