"""The zone answers for the cluster's names, from what watches told of it. Pure, no I/O.

It answers as the Kubernetes DNS specification 1.1.0 says (https://github.com/kubernetes/dns,
docs/specification.md) and, where that leaves room, as CoreDNS does. NXDOMAIN and NODATA follow RFC 2308 and
RFC 8020: a name that has names below it exists, even when it has no records of its own.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from itertools import chain
from typing import Final, NamedTuple

from ktpy.dns.objects import EndpointAddress, NamedPort, Service
from ktpy.dns.records import (
    Elsewhere,
    Rcode,
    ResourceRecord,
    RRType,
    Soa,
    Srv,
    ZoneAnswer,
    address_type,
    ancestors,
    dashed,
    normalised,
    reverse_name,
    reverse_zones,
    reversed_address,
    undashed,
)
from ktpy.dns.watch_cache import WatchCache
from ktpy.packet.stand_ins import StandIns

TTL_S: Final = 5
"""Time to live of every answer, positive or negative, in seconds.

The default of CoreDNS. A service that is recreated gets a new address, and a program that caches must notice
soon; asking again costs nothing, because the answer comes from this machine.
"""

SCHEMA_VERSION: Final = "1.1.0"
CNAME_CHAIN_MAX: Final = 8


class _Node(NamedTuple):
    """A _Node is an existing name: its records, and the address records that go with its SRV records."""

    records: Sequence[ResourceRecord] = ()
    additional: Sequence[ResourceRecord] = ()


class _Target(NamedTuple):
    """A _Target is an address behind a service, with the name that SRV records give it and one of the ports."""

    host: str
    address: bytes
    port: NamedPort


_ANY_PORT: Final = NamedPort("", "", -1)
"""What names no ports is found by its address, but in no SRV record."""
_KINDS: Final = frozenset({"svc", "pod"})
_EMPTY: Final = _Node()  # an empty non-terminal: exists, holds nothing


class Zone(WatchCache):
    """A Zone answers for the cluster domain and for the reverse names of what it holds.

    Until it is `synced`, every cluster name is asked of the cluster. Whoever keeps encoded answers drops them when
    `generation` has grown.
    """

    def __init__(
        self, cluster_domain: str = "cluster.local", *, extra_zones: Iterable[str] = (), known_as: str | None = None
    ) -> None:
        """With `known_as` names are below that here, and not below the domain that the cluster has for itself."""
        super().__init__()
        self.known_as = known_as
        self.set_domain(cluster_domain)
        self._extra_zones = normalised(extra_zones)
        self.own_names: dict[str, bytes] = {}
        """Names of ktpy's own, outside the cluster domain, with their addresses; set before questions come."""
        self._routed_reverse: frozenset[str] = frozenset()
        self.stand_ins = StandIns()
        """What this machine has in place of some of the cluster's addresses; set before questions come."""

    @property
    def generation(self) -> int:
        return super().generation + self.stand_ins.count

    def set_domain(self, own: str) -> None:
        """Say which domain the cluster has for itself; set before questions come."""
        self._own_domain = own.lower().strip(".")
        self.cluster_domain = self.known_as or self._own_domain

    def set_routed(self, networks: Iterable[IPv4Network | IPv6Network]) -> None:
        """Say which address ranges belong to the cluster: unknown reverse names in them are asked of it."""
        self._routed_reverse = frozenset(zone for network in networks for zone in reverse_zones(network))
        self._changes += 1

    # --- what is answered

    def lookup(self, qname: str, qtype: int) -> ZoneAnswer | Elsewhere:
        """Answer a question of class IN. Names compare without regard to case (RFC 4343)."""
        return self._lookup(qname.lower().rstrip("."), qtype, 0)

    def denial(self) -> ZoneAnswer:
        """Return that a name of the cluster domain does not exist."""
        return self._answer(None, RRType.A, self.cluster_domain, 0)

    def _lookup(self, name: str, qtype: int, chain: int) -> ZoneAnswer | Elsewhere:
        if self._extra_zones and not self._extra_zones.isdisjoint(ancestors(name)):
            return Elsewhere.ASK_CLUSTER
        if name in self.own_names:
            return self._answer(_Node(self._address_records(name, [self.own_names[name]])), qtype, name, chain)
        if name.endswith(self.cluster_domain):
            inside = name[: -len(self.cluster_domain)]
            if not inside or inside[-1] == ".":
                return (self._known_name if self.known_as else self._cluster_name)(name, inside[:-1], qtype, chain)
        if self.known_as is None and (name == "svc" or name.endswith(".svc")):
            found = self._cluster_name(name, name, qtype, chain)
            return self._referred(name, f"{name}.{self.cluster_domain}") if found is Elsewhere.ASK_CLUSTER else found
        if name.endswith(".arpa"):
            return self._reverse_name(name, qtype)
        return Elsewhere.NOT_OURS

    def _referred(self, name: str, known: str) -> ZoneAnswer:
        """Return a name that is one of this machine's only as an alias of the one that the cluster's DNS may know."""
        alias = ResourceRecord(name, RRType.CNAME, TTL_S, known)
        return ZoneAnswer(Rcode.NOERROR, (alias,), unfinished=known, is_inside=True)

    def _known_name(self, name: str, inside: str, qtype: int, chain: int) -> ZoneAnswer | Elsewhere:
        """Answer a name of Services or pods below `known_as`; what else is below that may be a domain of others."""
        if inside.rpartition(".")[2] not in _KINDS:
            return Elsewhere.NOT_OURS
        found = self._cluster_name(name, inside, qtype, chain)
        return self._referred(name, f"{inside}.{self._own_domain}") if found is Elsewhere.ASK_CLUSTER else found

    def _cluster_name(self, name: str, inside: str, qtype: int, chain: int) -> ZoneAnswer | Elsewhere:
        """Answer a name of the cluster domain, or under `svc` without it; `inside` is the part before the domain."""
        if not self.synced:
            return Elsewhere.ASK_CLUSTER
        labels = inside.split(".") if inside else []
        match labels:
            case [] if qtype != RRType.NS:
                node: _Node | Elsewhere | None = _Node([self._soa(self.cluster_domain)])
            case ["dns-version"]:
                node = _Node([ResourceRecord(name, RRType.TXT, TTL_S, SCHEMA_VERSION)])
            case [*_, "svc"]:
                node = self._service_name(name, labels[:-1], qtype)
            case [*_, "pod"]:
                node = self._pod_name(name, labels[:-1])
            case _:
                node = Elsewhere.ASK_CLUSTER  # custom names of CoreDNS's, and what name servers there are
        if isinstance(node, Elsewhere):
            return node
        return self._answer(node, qtype, "svc" if name == inside else self.cluster_domain, chain)

    def _service_name(self, name: str, labels: list[str], qtype: int) -> _Node | Elsewhere | None:
        """Return the node of a name under svc.<domain>; None when it does not exist (NXDOMAIN)."""
        if not labels:
            return _EMPTY
        if not self.is_watched(namespace := labels[-1]):
            return Elsewhere.ASK_CLUSTER
        if not self.has_services(namespace):
            return Elsewhere.ASK_CLUSTER if len(labels) == 1 else None  # is there a namespace without any Service?
        if len(labels) == 1:
            return _EMPTY
        service = self.service(namespace, labels[-2])
        return None if service is None else self._below_service(name, service, labels[:-2], qtype)

    def _below_service(self, name: str, service: Service, labels: list[str], qtype: int) -> _Node | Elsewhere | None:
        """Return the node of a service, of its ports (`_http._tcp`) or of an endpoint by its host name."""
        host_name = port_name = protocol = ""
        match labels:
            case []:
                if service.external_name:
                    return self._alias(name, service)
            case [host_name]:
                pass
            case [port_name, protocol]:  # CoreDNS wants no underscores, and takes an empty label for any
                port_name, protocol = port_name.removeprefix("_"), protocol.removeprefix("_")
            case [*_, "_zone"]:
                return Elsewhere.ASK_CLUSTER  # CoreDNS's optional zonal names
            case _:
                return None
        targets = [
            target
            for target in self._targets(service, host_name)
            if port_name in ("", target.port.name) and protocol in ("", target.port.protocol)
        ]
        if not targets:
            return None  # also the specification's: no ready endpoint, NXDOMAIN
        if qtype != RRType.SRV:
            return _Node(self._address_records(name, (target.address for target in targets)))
        # A target counts in the weight once for each of its addresses.
        weight = max(100 // len(targets), 1)
        srv = {Srv(0, weight, target.port.number, target.host): None for target in targets if target.port != _ANY_PORT}
        additional = (self._address_records(target.host, [target.address]) for target in targets)
        return _Node(
            [ResourceRecord(name, RRType.SRV, TTL_S, data) for data in srv],
            list(dict.fromkeys(chain.from_iterable(additional))),
        )

    def _alias(self, name: str, service: Service) -> _Node | None:
        if undashed(service.external_name.replace(".", "-")):
            return None  # the API lets an IPv4 address pass as a name; CoreDNS answers NXDOMAIN
        inside = self._inside(service.external_name)
        is_known = self.known_as and inside is not None and inside.rpartition(".")[2] in _KINDS
        target = f"{inside}.{self.known_as}" if is_known else service.external_name
        return _Node([ResourceRecord(name, RRType.CNAME, TTL_S, target)])

    def _inside(self, name: str) -> str | None:
        """Return the part of a name before the cluster's own domain; None where it has another."""
        suffix = f".{self._own_domain}"
        return name.removesuffix(suffix) if name.endswith(suffix) else None

    def _targets(self, service: Service, host_name: str) -> Iterator[_Target]:
        """Yield each address and port. As in CoreDNS, services with a cluster IP have endpoints by name, too."""
        base = self._name_of(service)
        if service.headless or (host_name and not service.external_name):
            for endpoint, ports in self.endpoints(service):
                if host_name in ("", _hostname(endpoint)):
                    for port in ports or (_ANY_PORT,):
                        yield _Target(f"{_hostname(endpoint)}.{base}", endpoint.address, port)
        else:
            for port in service.ports or (_ANY_PORT,):
                for address in service.cluster_ips:
                    yield _Target(base, address, port)

    def _pod_name(self, name: str, labels: list[str]) -> _Node | Elsewhere | None:
        """Return the node of a name under pod.<domain>: it contains the address, as with CoreDNS's `pods insecure`."""
        if not labels:
            return _EMPTY
        if not (self.is_watched(labels[-1]) and labels[-1] in self.namespaces()):
            return Elsewhere.ASK_CLUSTER  # a namespace without any Service is not seen here
        if len(labels) == 1:
            return _EMPTY
        if len(labels) > 2 or (address := undashed(labels[0])) is None:
            return None
        return _Node(self._address_records(name, [address]))

    def _reverse_name(self, name: str, qtype: int) -> ZoneAnswer | Elsewhere:
        address = reversed_address(name)
        if address is not None and self.synced and (targets := self.names_at(address)):
            records = [ResourceRecord(name, RRType.PTR, TTL_S, target) for target in targets]
            # Each known address is a zone of its own: no claim is made on its neighbours.
            return self._answer(_Node(records), qtype, name, 0)
        if address is not None and (real := self.stand_ins.real(address)) != address:
            return self._referred(name, reverse_name(real))
        if self._routed_reverse and not self._routed_reverse.isdisjoint(ancestors(name)):
            return Elsewhere.ASK_CLUSTER
        return Elsewhere.NOT_OURS

    def names_at(self, seen: bytes) -> list[str]:
        """Return the names of what this machine has at an address: its service, else every service it is a ready
        endpoint of."""
        address = self.stand_ins.real(seen)
        if address == seen != self.stand_ins.of(seen):
            return []  # a local network's
        if (service := self.service_at(address)) is not None:
            return [self._name_of(service)]
        behind = self.endpoints_at(address)
        return list(dict.fromkeys(f"{_hostname(endpoint)}.{self._name_of(of)}" for endpoint, of in behind))

    def _answer(self, node: _Node | None, qtype: int, apex: str, chain: int) -> ZoneAnswer:
        """Pick what was asked from a node; `apex` owns the SOA record that makes a negative answer cachable."""
        if node is None:
            return ZoneAnswer(Rcode.NXDOMAIN, authority=(self._soa(apex),))
        # As CoreDNS does, an alias is followed to addresses only, and ANY is answered with nothing (RFC 8482).
        wanted = (qtype, RRType.CNAME) if qtype in (RRType.A, RRType.AAAA) else (qtype,)
        picked = tuple(record for record in node.records if record.rtype in wanted)
        if not picked:
            return ZoneAnswer(Rcode.NOERROR, authority=(self._soa(apex),))
        first = picked[0]
        if first.rtype == RRType.CNAME and qtype != RRType.CNAME:
            return self._chase(first, qtype, chain)
        return ZoneAnswer(Rcode.NOERROR, picked, additional=tuple(node.additional) if qtype == RRType.SRV else ())

    def _chase(self, alias: ResourceRecord, qtype: int, chain: int) -> ZoneAnswer:
        """Follow an alias while it stays in the zone. The response code is the last name's (RFC 6604)."""
        if chain == CNAME_CHAIN_MAX:
            return ZoneAnswer(Rcode.SERVFAIL)  # a loop, or as good as one
        target = str(alias.data)
        found = self._lookup(target, qtype, chain + 1)
        if isinstance(found, Elsewhere):
            is_inside = found is Elsewhere.ASK_CLUSTER or self._inside(target) is not None
            return ZoneAnswer(Rcode.NOERROR, (alias,), unfinished=target, is_inside=is_inside)
        if found.rcode == Rcode.SERVFAIL:
            return found
        return replace(found, answers=(alias, *found.answers))

    def _address_records(self, owner: str, addresses: Iterable[bytes]) -> list[ResourceRecord]:
        # dict.fromkeys: an address can be in two slices for a moment, and an RRset holds no duplicates (RFC 2181).
        unique = map(self.stand_ins.of, dict.fromkeys(addresses))
        return [ResourceRecord(owner, address_type(address), TTL_S, address) for address in unique]

    def _name_of(self, service: Service) -> str:
        return f"{service.name}.{service.namespace}.svc.{self.cluster_domain}"

    def _soa(self, apex: str) -> ResourceRecord:
        """Return the start of authority; its minimum is how long a negative answer may be kept (RFC 2308)."""
        primary, mailbox = f"ns.dns.{self.cluster_domain}", f"hostmaster.{self.cluster_domain}"
        serial = self.generation & 0xFFFFFFFF
        return ResourceRecord(apex, RRType.SOA, TTL_S, Soa(primary, mailbox, serial, 7200, 1800, 86400, TTL_S))


def _hostname(endpoint: EndpointAddress) -> str:
    return endpoint.hostname or dashed(endpoint.address)
