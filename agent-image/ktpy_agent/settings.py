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

    @property
    def socket(self) -> Path:
        """Where each `ktpy-agent session` registers with the supervisor."""
        return self.run_dir / "agent.sock"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read KTPY_RUN_DIR, KTPY_ANNOTATIONS, KTPY_SSHD_CONFIG, KTPY_SSHD_PORT, KTPY_IDLE_S, KTPY_SILENCE_S."""
        default = cls()
        try:
            return cls(
                run_dir=Path(environment.get("KTPY_RUN_DIR", default.run_dir)),
                annotations=Path(environment.get("KTPY_ANNOTATIONS", default.annotations)),
                sshd_config=Path(environment.get("KTPY_SSHD_CONFIG", default.sshd_config)),
                sshd_port=int(environment.get("KTPY_SSHD_PORT", default.sshd_port)),
                idle_s=float(environment.get("KTPY_IDLE_S", default.idle_s)),
                silence_s=float(environment.get("KTPY_SILENCE_S", default.silence_s)),
            )
        except ValueError as exc:
            raise SettingsError(f"a KTPY_ environment variable is not a number: {exc}") from exc
