"""The modes of capture."""

import pytest

from ktpy.capture.spec import FRONTS, CaptureSpec
from ktpy.capture.tun.front import TunFront


def test_a_tun_unless_told_otherwise() -> None:
    assert CaptureSpec().load() is TunFront


@pytest.mark.parametrize("mode", FRONTS)
def test_each_mode_has_its_class(mode: str) -> None:
    assert callable(CaptureSpec(mode).load().prepare)


def test_a_mode_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"'vpn'; there are: tun, proxy, namespace, forward$"):
        CaptureSpec("vpn")
