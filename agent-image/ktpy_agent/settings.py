"""Where the agent finds and puts things. The pod needs none of these set; tests point them elsewhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class SettingsError(ValueError):
    """An environment variable has a value the agent cannot use."""


class Settings(NamedTuple):  # a dataclass would take 7 ms to import
    run_dir: Path = Path("/run/ktpy")
    """The only place the agent writes to: an emptyDir, since the root file system is read-only."""
    annotations: Path = Path("/etc/ktpy/podinfo/annotations")
    """metadata.annotations of this pod, as a downward API volume shows them."""
    sshd_config: Path = Path("/etc/ktpy/sshd_config")
    sshd_port: int = 2222
    idle_s: float = 60.0
    """Without an SSH session for this long, the agent exits 0 and the pod's Job is done."""
    silence_s: float = 20.0
    """A laptop beats every 5 s; one that is silent for this long is taken for dead."""
    route_silence_s: float = 3.0
    """The same for a gateway's route: its laptop beats every second, and others wait that long for a frozen one."""
    ready_port: int = 2223
    """Where a gateway answers `GET /ready`, once its HAProxy listens."""
    drain_s: float = 3.0
    """A gateway that was told to stop goes when no new connection has come for so long: every node knows it then."""

    @property
    def socket(self) -> Path:
        """Where each `ktpy-agent session` registers with the supervisor."""
        return self.run_dir / "agent.sock"

    @property
    def control(self) -> Path:
        """Where each `ktpy-agent route` registers with the gateway's supervisor."""
        return self.run_dir / "control.sock"

    @property
    def routes_dir(self) -> Path:
        """Where sshd puts the unix sockets that lead to laptops."""
        return self.run_dir / "routes"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the variables that agent-image/README.md lists, each `KTPY_` and the name of the setting."""
        default = cls()
        try:
            return cls(
                run_dir=Path(environment.get("KTPY_RUN_DIR", default.run_dir)),
                annotations=Path(environment.get("KTPY_ANNOTATIONS", default.annotations)),
                sshd_config=Path(environment.get("KTPY_SSHD_CONFIG", default.sshd_config)),
                sshd_port=int(environment.get("KTPY_SSHD_PORT", default.sshd_port)),
                idle_s=float(environment.get("KTPY_IDLE_S", default.idle_s)),
                silence_s=float(environment.get("KTPY_SILENCE_S", default.silence_s)),
                route_silence_s=float(environment.get("KTPY_ROUTE_SILENCE_S", default.route_silence_s)),
                ready_port=int(environment.get("KTPY_READY_PORT", default.ready_port)),
                drain_s=float(environment.get("KTPY_DRAIN_S", default.drain_s)),
            )
        except ValueError as exc:
            raise SettingsError(f"a KTPY_ environment variable is not a number: {exc}") from exc
