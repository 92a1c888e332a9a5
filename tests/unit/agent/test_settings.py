from pathlib import Path

import pytest
from ktpy_agent.settings import Settings, SettingsError


def test_a_pod_needs_no_environment() -> None:
    settings = Settings.from_environment({})
    assert settings == Settings(
        run_dir=Path("/run/ktpy"),
        annotations=Path("/etc/ktpy/podinfo/annotations"),
        sshd_config=Path("/etc/ktpy/sshd_config"),
        sshd_port=2222,
        sshd_addresses=(),
        idle_s=60.0,
        silence_s=20.0,
        route_silence_s=3.0,
        ready_port=2223,
        drain_s=3.0,
    )


def test_the_environment_overrides() -> None:
    settings = Settings.from_environment({"KTPY_RUN_DIR": "/tmp/x", "KTPY_IDLE_S": "0.5", "KTPY_SSHD_PORT": "2022"})
    assert (settings.socket, settings.idle_s, settings.sshd_port) == (Path("/tmp/x/agent.sock"), 0.5, 2022)


def test_sshd_may_listen_on_the_pods_addresses_too() -> None:
    settings = Settings.from_environment({"KTPY_SSHD_ADDRESSES": "10.244.0.7,fd00::7"})
    assert settings.sshd_addresses == ("10.244.0.7", "fd00::7")


@pytest.mark.parametrize(
    "name",
    ["KTPY_SSHD_PORT", "KTPY_READY_PORT", "KTPY_IDLE_S", "KTPY_SILENCE_S", "KTPY_ROUTE_SILENCE_S", "KTPY_DRAIN_S"],
)
def test_what_is_not_a_number_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="soon"):
        Settings.from_environment({name: "soon"})
