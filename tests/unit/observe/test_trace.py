import asyncio
import logging
import re

import pytest

from ktpy.observe.trace import traced


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged, with every time as N."""
    return [re.sub(r"\d+\.\d{3} s", "N s", record.getMessage()) for record in caplog.records]


def test_a_step_that_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ktpy"), traced("step", "create-gateway"):
        pass
    assert lines(caplog) == ["step create-gateway: started", "step create-gateway: complete in N s"]


def test_a_step_that_fails_is_logged_with_the_class_of_its_error(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO, "ktpy"),
        pytest.raises(ValueError, match="secret"),
        traced("dial"),
    ):
        raise ValueError("a secret")
    assert lines(caplog) == ["dial: started", "dial: failed after N s: ValueError"]


def test_a_step_that_is_cancelled_has_not_come_to_its_end(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ktpy"), pytest.raises(asyncio.CancelledError), traced("dial"):
        raise asyncio.CancelledError
    assert lines(caplog)[-1] == "dial: failed after N s: CancelledError"


def test_what_is_for_vv_is_silent_before(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ktpy"), traced("request", level=logging.DEBUG):
        pass
    assert not caplog.records
