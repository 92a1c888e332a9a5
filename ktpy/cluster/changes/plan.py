"""The values that an intercept is described by, once its options have been compared with the cluster.

An InterceptPlan and a SessionIdentity travel together from the session to the manifests.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from ktpy.cluster.changes.options import KEEP, InterceptOptions
from ktpy.cluster.service.interceptee import Interceptee
from ktpy.cluster.service.ports import PortMapping
from ktpy.frozen import dataclass


@dataclass(frozen=True, slots=True)
class SessionIdentity:
    """A SessionIdentity is who a session is in the cluster. It changes when others have taken the session for dead."""

    id: str
    owner: str
    """Whom others see: `alice@laptop`."""
    public_key: str
    """In OpenSSH's form: `ssh-ed25519 AAAA...`."""


@dataclass(frozen=True, slots=True)
class InterceptPlan:
    """An InterceptPlan is what one command will do in the cluster. Nothing is changed yet."""

    options: InterceptOptions
    interceptee: Interceptee
    ports: tuple[PortMapping, ...]
    selector: Mapping[str, str] = field(default_factory=dict)
    """What the Service selects without its gateway."""
    warnings: tuple[str, ...] = ()
    """What the user should know first."""
    placement: Mapping[str, Any] = field(default_factory=dict)
    """What lets the gateway's pods run where the original ones do, as an overlay of their template."""

    @property
    def description(self) -> str:
        """Say what the session does, as others read it in `ktpy list`: `tap of port 80, VERSION: foobar, 10 %`."""
        if self.options.kind == KEEP:
            return "keeps the gateway"
        numbers = ", ".join(str(one.service_port) for one in self.ports)
        match = f", {self.options.match}" if self.options.match is not None else ""
        percent = self.options.copied_percent
        share = f", {percent} %" if percent is not None and percent < 100 else ""
        hosts = f" for {', '.join(self.options.hosts)}" if self.options.hosts else ""
        return f"{self.options.kind} of port{'s' if len(self.ports) > 1 else ''} {numbers}{hosts}{match}{share}"

    @property
    def details(self) -> dict[str, Any]:
        """Return the same as data."""
        match = self.options.match
        return {
            "kind": self.options.kind,
            "ports": [one.remote for one in self.ports] if self.options.kind != KEEP else [],
            "match": match.document() if match is not None else None,
        }
