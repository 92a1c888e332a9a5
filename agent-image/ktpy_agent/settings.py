"""The settings say where the agent finds and puts things. The pod needs none of these set; tests set them."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ktpy.wire import pod
from ktpy.wire.flows import SOCKET_NAME


class SettingsError(ValueError):
    """An environment variable has a value the agent cannot use."""


class Settings(NamedTuple):  # a dataclass would take 7 ms to import
    run_dir: Path = Path(pod.RUN_DIR)
    annotations: Path = Path(pod.PODINFO_DIR, pod.ANNOTATIONS_FILE)
    sshd_config: Path = Path("/etc/ktpy/sshd_config")
    sshd_port: int = pod.SSHD_PORT
    sshd_addresses: tuple[str, ...] = ()
    """sshd listens on these besides loopback."""
    idle_s: float = pod.IDLE_S
    silence_s: float = pod.SESSION_SILENCE_S
    route_silence_s: float = pod.ROUTE_SILENCE_S
    ready_port: int = pod.READY_PORT
    cgroup: Path = Path("/sys/fs/cgroup")
    drain_s: float = 3.0
    """A gateway that was told to stop goes when no new connection has come for this long: every node knows it then."""

    @property
    def socket(self) -> Path:
        """Where each `ktpy-agent session` registers with the supervisor."""
        return self.run_dir / "agent.sock"

    @property
    def flows(self) -> Path:
        """Where connections that outlive their link go through."""
        return self.run_dir / SOCKET_NAME

    @property
    def bulk_port(self) -> Path:
        """Which port of loopback takes bulk of connections; there may be none."""
        return self.run_dir / "bulk-port"

    @property
    def control(self) -> Path:
        """Where each `ktpy-agent route` registers with the gateway's supervisor."""
        return self.run_dir / "control.sock"

    @property
    def held(self) -> Path:
        """Where a gateway's supervisor meets who holds its sockets."""
        return self.run_dir / "held.sock"

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
                sshd_port=int(environment.get(pod.SSHD_PORT_VARIABLE, default.sshd_port)),
                sshd_addresses=tuple(filter(None, environment.get(pod.SSHD_ADDRESSES_VARIABLE, "").split(","))),
                idle_s=float(environment.get("KTPY_IDLE_S", default.idle_s)),
                silence_s=float(environment.get("KTPY_SILENCE_S", default.silence_s)),
                route_silence_s=float(environment.get("KTPY_ROUTE_SILENCE_S", default.route_silence_s)),
                ready_port=int(environment.get(pod.READY_PORT_VARIABLE, default.ready_port)),
                cgroup=Path(environment.get("KTPY_CGROUP", default.cgroup)),
                drain_s=float(environment.get("KTPY_DRAIN_S", default.drain_s)),
            )
        except ValueError as exc:
            raise SettingsError(f"a KTPY_ environment variable is not a number: {exc}") from exc
