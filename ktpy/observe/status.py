"""The state of a session at one moment. As JSON it is the documented output of `ktpy status --output json`."""

import os
from dataclasses import field
from typing import Any, Final

from ktpy.frozen import dataclass
from ktpy.observe.codec import from_json
from ktpy.observe.counters import Numbers

UP_ENTRY: Final = "KTPY_UP_ENTRY"
"""The variable by which `ktpy up` tells a session which entry it is for."""


@dataclass(frozen=True, slots=True)
class RangeStatus:
    """A RangeStatus is a range of the cluster's addresses that is reached from here."""

    network: str
    kind: str
    source: str
    """Where ktpy learned of it."""
    stand_in: str | None = None
    """The range by which this laptop reaches it instead, as it is a local network's, too."""


@dataclass(frozen=True, slots=True)
class DnsStatus:
    """A DnsStatus tells how the machine resolves names of the cluster."""

    cluster_domain: str
    address: str
    """Of ktpy's name server."""
    resolver: str
    """Which of the machine's resolvers asks it."""
    search: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProxyStatus:
    """A ProxyStatus tells how programs use the proxy of mode `proxy`."""

    port: int
    """Of 127.0.0.1, for SOCKS5, SOCKS4a and HTTP."""
    pac: str
    """The URL of a PAC file, for browsers."""
    environment: dict[str, str]
    """The variables that programs know."""


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A PublishedPort of a program in its own network is one of the laptop's loopback."""

    port: int
    local_port: int


@dataclass(frozen=True, slots=True)
class ForwardStatus:
    """A ForwardStatus is a port of the cluster that is one of the laptop's loopback."""

    target: str
    """The Service's name, or KIND/NAME."""
    port: int
    """The one that is dialled."""
    protocol: str
    local_port: int
    variables: dict[str, str] = field(default_factory=dict)
    """The environment by which programs find it, as in a pod."""


@dataclass(frozen=True, slots=True)
class TrafficBytes:
    """TrafficBytes counts the payload of all connections, also of closed ones, as the laptop sees it."""

    in_: int = 0
    out: int = 0


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """A LinkStatus tells of the tunnel to the shadow pod."""

    is_up: bool = False
    for_s: float = 0.0
    """For how many seconds it stands, or is lost; those that the laptop slept count."""
    losses: int = 0
    """How often it was lost since the session stood."""
    reason: str | None = None
    """Why it is not back yet, or was not the last time."""


@dataclass(frozen=True, slots=True)
class UpEntry:
    """An UpEntry is what `ktpy up` began a session for."""

    file: str
    """The ktpy.yaml."""
    name: str
    """Of the entry: `mesh-web`."""
    digest: str
    """Of all that the session was told; one that is told otherwise has another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectStatus:
    """A ConnectStatus describes a session of `ktpy connect`, of `ktpy run`, or of `ktpy forward`."""

    kind: str = "connect"
    pid: int
    dns: DnsStatus | None = None
    """None with --no-dns, and until it is set up."""
    ranges: tuple[RangeStatus, ...] = ()
    pod: str | None = None
    server: str
    """The API server's URL."""
    context: str
    namespace: str
    state: str
    """`starting`, `connected`, or `reconnecting` while the link is lost."""
    uptime_s: float
    ends_in_s: float | None = None
    """With --for, the seconds until the session ends by itself."""
    bytes: TrafficBytes = TrafficBytes()
    open_flows: int = 0
    datagram_flows: int = 0
    """How many sockets of programs have sent datagrams, or pings, within the last minutes."""
    agent: str | None = None
    """The version of ktpy that the pod's image was made with."""
    try_command: str | None = None
    """A command that reaches a service of the namespace."""
    counters: dict[str, Numbers] = field(default_factory=dict)
    """The groups `kept` (connections that outlive the link), `link`, `packets` of the TUN, `flows` and `datagrams`, or
    `proxy`, and `dns`, once each is there."""
    link: LinkStatus = LinkStatus()
    via: str | None = None
    """Where the pod is reached past the API server, HOST:PORT; null while all goes through it."""
    mode: str = "tun"
    """How traffic gets in: `tun`, `proxy`, `namespace` for `ktpy run`, or `forward`."""
    proxy: ProxyStatus | None = None
    """Of mode `proxy`, from when its port is there."""
    excluded: tuple[str, ...] = ()
    """Ranges that the user wants never to be routed."""
    dns_zones: tuple[str, ...] = ()
    """Zones, besides the cluster domain, whose names the cluster's DNS is asked for."""
    published: tuple[PublishedPort, ...] = ()
    """Of mode `namespace`."""
    forwards: tuple[ForwardStatus, ...] = ()
    """Of mode `forward`."""
    reference: str | None = None
    """Of mode `forward`, what the user named: `deployment/web`; None is every Service of the namespace."""
    notes: tuple[str, ...] = ()
    """What is not as it should be with the routes, in sentences."""
    name: str | None = None
    """Of `connect --name`: the cluster's names end with it here."""
    up: UpEntry | None = None
    """None where a user began it by itself."""

    @property
    def environment(self) -> dict[str, str]:
        """By which programs use the proxy, or the ports that are forwarded."""
        found = dict(self.proxy.environment) if self.proxy else {}
        return found | {name: value for one in self.forwards for name, value in one.variables.items()}


@dataclass(frozen=True, slots=True)
class PortStatus:
    """An exposed port of an intercept."""

    port: int
    """Of the Service."""
    local_port: int
    is_local_up: bool
    """Whether a program answers on the local port."""
    is_up: bool
    """Whether the gateway sends requests to the laptop now."""
    requests: int
    """How many came to the laptop."""
    fallbacks: int
    """How many went to the original pods, because the laptop did not answer."""
    local_state: str = "down"
    """Of the local port: `up`, `down`, or `accepts and closes`, which is down too."""
    local_host: str | None = None
    """Where the local port is; None is a loopback address."""
    passed: int | None = None
    """How many of everybody's have passed the gateway on this port meanwhile; None where a gateway does not tell."""
    waiting: int = 0
    """How many connections wait for the local port now."""
    protocol: str = "TCP"
    """TCP or UDP; of UDP, datagrams are counted."""
    dropped: int = 0
    """Of a tap: how many copies the laptop did not answer in time, or could not take."""
    skipped: int = 0
    """Of a tap: how many requests were not copied, as their bodies are too long, or come late."""
    shortcuts: int = 0
    """How many connections came from this laptop itself, past the cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InterceptStatus:
    """A session of `ktpy exchange`, `ktpy mesh`, `ktpy tap` or `ktpy preview`."""

    kind: str
    """exchange, mesh, tap or preview."""
    reference: str
    """What the user named: `deployment/web`."""
    target: str
    """The Service."""
    match: dict[str, Any] | None = None
    """Which requests: headers, path_prefix and baggage; None is all of them."""
    match_words: str | None = None
    """The same for people."""
    copied_percent: int | None = None
    """Of a tap: copies of this share of them come."""
    when_local_down: str
    owner: str
    pid: int
    server: str
    """The API server's URL."""
    context: str
    namespace: str
    session: str | None = None
    """The session's id in the cluster."""
    state: str
    """`starting` or `intercepted`."""
    uptime_s: float
    ends_in_s: float | None = None
    """With --for, the seconds until the session ends by itself."""
    routes: int = 0
    """How many pods of the gateway lead to the laptop."""
    ports: tuple[PortStatus, ...] = ()
    hosts: tuple[str, ...] = ()
    """The hosts by which a preview is reached from outside the cluster."""
    try_command: str | None = None
    """A command whose request comes to the laptop."""
    up: UpEntry | None = None
    """As above."""


@dataclass(frozen=True, slots=True)
class SyncProblem:
    """A path cannot be synchronized; both sides keep what they have, and it is tried again."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """A SyncStatus tells how far a folder of the laptop and one of the container are alike."""

    local: str = ""
    """The laptop's folder."""
    remote: str = ""
    is_two_way: bool = True
    """Whether what changes in the container comes to the laptop."""
    state: str = "starting"
    """`starting`, `syncing`, `in step`, or `cut` while there is no channel."""
    entries: int = 0
    """Files, folders and links that are the same on both sides."""
    to_container: int = 0
    """How many of those that differ go there."""
    to_laptop: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    conflicts: int = 0
    """Conflict copies that were made in this session."""
    problems: tuple[SyncProblem, ...] = ()
    last_error: str | None = None
    """What could not be done last, also where it has been done since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DevStatus:
    """A session of `ktpy dev start`."""

    kind: str = "dev"
    reference: str
    """The workload, KIND/NAME."""
    session: str
    """The session's id in the cluster."""
    pid: int
    server: str
    """The API server's URL."""
    context: str
    namespace: str
    state: str
    """`starting`, or `ready` once the dev container runs."""
    uptime_s: float
    ends_in_s: float | None = None
    sync: SyncStatus | None = None
    """With --sync."""
    up: UpEntry | None = None
    """As above: None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandStatus:
    """A local command that `ktpy up` has begun."""

    kind: str = "command"
    reference: str
    """Its name."""
    words: tuple[str, ...]
    pid: int
    """Of the ktpy that ends it."""
    process: int
    """Of the command itself, which leads a process group."""
    uptime_s: float
    ends_in_s: float | None = None
    """None: it has no limit of time."""
    up: UpEntry | None = None
    """As above."""


ClusterStatus = ConnectStatus | InterceptStatus | DevStatus
SessionStatus = ClusterStatus | CommandStatus


def decode_status(value: dict[str, Any]) -> SessionStatus:
    """Return the status of a JSON object; the inverse of `to_json`."""
    shapes: dict[str, type[SessionStatus]] = dict.fromkeys(("connect", "run", "forward"), ConnectStatus)
    shapes |= {"command": CommandStatus, "dev": DevStatus}
    return from_json(shapes.get(value["kind"], InterceptStatus), value)


def begun_by() -> UpEntry | None:
    """Return the entry for which this process was started; None where it was for none."""
    told = os.environ.get(UP_ENTRY)
    return UpEntry(*told.split("\n", 2)) if told and told.count("\n") == 2 else None


def told_entry(entry: UpEntry) -> dict[str, str]:
    """Return the environment that `begun_by` reads."""
    return {UP_ENTRY: f"{entry.file}\n{entry.name}\n{entry.digest}"}
