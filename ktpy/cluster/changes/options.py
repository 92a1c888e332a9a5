"""The options of `ktpy exchange`, `mesh`, `tap` and `preview`. The command line imports this module, so it is light."""

import posixpath
import re
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Final

from ktpy.cluster.pods.image import DEFAULT_IMAGE
from ktpy.cluster.service.ports import AppProtocol, ExposeOption
from ktpy.frozen import dataclass
from ktpy.wire.route import ORIGIN, Match

DEFAULT_POD_TIMEOUT_S = 60.0
WAIT: Final = "wait"
"""What requests do while the local port does not answer: wait for a program that was there, then turn to ORIGIN."""
WAIT_S: Final = 30.0
_SIZE: Final = re.compile(r"[0-9]+(\.[0-9]+)?([kMGTPE]|[KMGTPE]i)?")
VERSION_HEADER = "VERSION"
"""The header by which `--version` means requests."""
KEEP = "keep"
"""The kind of change that makes a gateway, and leaves it standing for others."""


@dataclass(frozen=True, slots=True)
class InterceptOptions:
    """InterceptOptions are what the user asks for on the command line; the defaults are the documented ones."""

    kind: str
    """exchange, mesh, tap or preview; or KEEP."""
    target: str
    """What the user named: `web`, `deployment/web`; the new Service's name for a preview."""
    expose: tuple[ExposeOption, ...]
    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None
    match: Match | None = None
    """Which requests; None takes all."""
    copied_percent: int | None = None
    """Of a tap: copies of this share of them come; None where they come themselves."""
    protocol: AppProtocol | None = None
    """The user's word on what is spoken on the exposed ports."""
    when_local_down: str = ORIGIN
    """ORIGIN, WAIT or FAIL."""
    gateway_labels: Mapping[str, str] = field(default_factory=dict)
    replicas: int = 1
    """Pods of the gateway, where this session is the one that makes it; a route leads through each of them."""
    move_clients: bool = False
    """Whether the original pods are renewed, so that connections to them are made anew."""
    in_mesh: bool | None = None
    """Whether the gateway's pods are part of the service mesh of the original ones; None is undecided."""
    ingress_host: str | None = None
    ingress_class: str | None = None
    gateway_route_host: str | None = None
    gateway: str | None = None
    """The Gateway (of the Gateway API) of that route: NAME, or NAMESPACE/NAME."""
    for_s: float = 0.0
    """The session ends by itself after so long; 0 is never."""
    image: str = DEFAULT_IMAGE
    pod_overlay: Mapping[str, Any] = field(default_factory=dict)
    """What is merged into the pods' template: its metadata and spec."""
    pod_timeout_s: float = DEFAULT_POD_TIMEOUT_S
    command: tuple[str, ...] = ()
    """A program to run while the intercept stands; ktpy leaves when it ends."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts by which a preview is reached from outside the cluster."""
        given = (host for host in (self.ingress_host, self.gateway_route_host) if host is not None)
        return tuple(dict.fromkeys(given))


@dataclass(frozen=True, slots=True)
class SyncFolder:
    """A SyncFolder is a folder of the laptop that the dev container has, too."""

    local: str
    remote: str
    """Its path in the container, where it is empty at first; "" where the configuration decides."""
    is_two_way: bool = True
    """Whether what changes in the container comes to the laptop."""
    is_delete_protected: bool = False
    """Whether what is deleted in the container stays on the laptop."""
    ignore: tuple[str, ...] = ()
    """Lines as in .gitignore."""
    initial: str = ""
    """Whose version a file has at first where both sides have another: laptop, container or newer; both without it."""


@dataclass(frozen=True, slots=True)
class Publish:
    """A Publish joins port `local` of the laptop, 0 for any that is free, and `port` of a program or container."""

    local: int
    port: int


@dataclass(frozen=True, slots=True)
class PersistentDir:
    """A PersistentDir is a folder of the dev container that outlives it, in a claim of its own."""

    path: str
    size: str = "10Gi"
    """As Kubernetes writes quantities; of a claim that there is already, it stays what it was."""


def parse_persistent_dir(text: str) -> PersistentDir:
    """Read DIR[:SIZE]. Raises ValueError."""
    path, _, size = text.partition(":")
    folder = posixpath.normpath(f"/{path.lstrip('/')}")
    if not path.startswith("/") or folder == "/" or folder.startswith("/.kt"):
        raise ValueError(f"{path} cannot be persistent: it has to be a folder of the container, by its whole path.")
    if size and not _SIZE.fullmatch(size):
        raise ValueError(f"{size} is no size, as 500Mi or 10Gi are.")
    return PersistentDir(folder, size) if size else PersistentDir(folder)


@dataclass(frozen=True, slots=True)
class DevPatch:
    """A DevPatch is a change that a configuration wants of the dev pod's Deployment."""

    type: str
    """strategic, merge or json, as `kubectl patch --type` has them."""
    body: Any
    place: str
    """What names it: number, file, line and column."""


@dataclass(frozen=True, slots=True)
class DevOptions:
    """DevOptions are what the user asks for on the command line of `ktpy dev start`."""

    target: str
    mode: str = "replace"
    """replace or duplicate."""
    container: str | None = None
    image: str | None = None
    agent_image: str = DEFAULT_IMAGE
    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None
    command: tuple[str, ...] = ()
    """What runs in the dev container; without it a terminal is opened."""
    shell: str = ""
    work_dir: str = ""
    sync: SyncFolder | None = None
    config: str | None = None
    """The file that says what the user does not; None for the one of the folder, if there is one."""
    resources: Mapping[str, Any] = field(default_factory=dict)
    """Of the dev container, in the place of the workload's."""
    env: tuple[tuple[str, str], ...] = ()
    """Variables of the dev container beside the workload's."""
    reloads: bool = False
    """Whether the command is started again when files of its folder change."""
    forward: tuple[Publish, ...] = ()
    """Ports of the laptop that lead into the dev container."""
    reverse: tuple[Publish, ...] = ()
    """Ports of the dev container that lead to the laptop."""
    expose: tuple[ExposeOption, ...] = ()
    """Ports of the workload's Service of which the dev container gets the requests that match."""
    match: Match | None = None
    persist: tuple[PersistentDir, ...] = ()
    storage_class: str = ""
    """Of the claims that are made for these; "" for the cluster's default."""
    patches: tuple[DevPatch, ...] = ()
    pod_timeout_s: float = DEFAULT_POD_TIMEOUT_S
