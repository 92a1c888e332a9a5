"""What a session wants in the cluster, whether it intercepts a Service or makes one."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ktpy.cluster.names import new_session_id
from ktpy.cluster.service.ports import AppProtocol, Exposed


@dataclass(frozen=True, slots=True)
class Plan:
    exposed: tuple[Exposed, ...]
    public_key: str
    image: str
    owner: str
    description: str = ""
    """What the session does, in words for others."""
    session: str = field(default_factory=new_session_id)
    protocol: AppProtocol | None = None
    """The user's word on what is spoken on the exposed ports."""
    replicas: int = 1
    """Pods of the gateway, where this session is the one that makes it; a route leads through each of them."""
    pod_labels: Mapping[str, str] = field(default_factory=dict)
    pod_timeout_s: float = 60.0
