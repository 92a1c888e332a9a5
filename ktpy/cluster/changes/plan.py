"""What comes of an InterceptOptions in the light of the cluster.

An InterceptPlan and a SessionIdentity travel together from the session to the manifests.
"""

from dataclasses import dataclass

from ktpy.cluster.changes.options import InterceptOptions
from ktpy.cluster.service.interceptee import Interceptee
from ktpy.cluster.service.ports import PortMapping


@dataclass(frozen=True, slots=True)
class SessionIdentity:
    """Who a session is in the cluster. It is another one when it comes back after others took it for dead."""

    id: str
    owner: str
    """Whom others see: `alice@laptop`."""
    public_key: str
    """In OpenSSH's form: `ssh-ed25519 AAAA...`."""


@dataclass(frozen=True, slots=True)
class InterceptPlan:
    """What one command will do in the cluster. Nothing is changed yet."""

    options: InterceptOptions
    interceptee: Interceptee
    ports: tuple[PortMapping, ...]
    warnings: tuple[str, ...] = ()
    """What the user should know first."""

    @property
    def description(self) -> str:
        """What others read about the session in `ktpy list`: `mesh of port 80, VERSION: foobar`."""
        numbers = ", ".join(str(one.remote) for one in self.ports)
        match = f", {self.options.match}" if self.options.match is not None else ""
        return f"{self.options.kind} of port{'s' if len(self.ports) > 1 else ''} {numbers}{match}"
