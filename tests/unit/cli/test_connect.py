"""What `ktpy connect` refuses as a usage error, before it starts anything."""

import pytest
from click.testing import CliRunner

from ktpy.cli.connect import connect
from ktpy.daemon.caller import Caller

RESERVED = "which is never routed."
WIDE = "as wide as a default route, which ktpy never takes."


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def started() -> None:
        raise AssertionError("the session was started")

    monkeypatch.setattr(Caller, "current", started)


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        ("10.96.0.1/16", "has host bits set (wanted: an address range such as 10.96.0.0/16)"),
        ("100.0.0.0/7", WIDE),
        ("2000::/3", WIDE),
        ("127.0.0.1/32", RESERVED),
        ("::1:0/112", RESERVED),
        ("::ffff:10.0.0.0/112", RESERVED),
    ],
)
def test_an_include_that_can_never_be_routed(network: str, reason: str) -> None:
    refused = CliRunner().invoke(connect, ["--include", network])
    assert refused.exit_code == 2
    assert "Invalid value for '--include': " in refused.output
    assert reason in " ".join(refused.output.split())
