import asyncio
from ipaddress import ip_network
from typing import Any

import dnslib
import pytest

from ktpy.dns import resolver as resolver_module
from ktpy.dns.forward import Forwarder, NoAnswerError
from ktpy.dns.message import Query
from ktpy.dns.records import Rcode
from ktpy.dns.resolver import SplitResolver
from ktpy.dns.stream import StreamClient
from ktpy.dns.upstream import Upstream
from ktpy.dns.zone import Zone
from tests.unit.dns.kube import endpoint_slice, external_name, service
from tests.unit.dns.name_servers import (
    Behaviour,
    addresses,
    answering,
    asked,
    denying,
    failing,
    name_server,
    parsed,
    reply,
    silent,
)

SHOP = "shop.svc.cluster.local"


class Script:
    """An exchange with a behaviour; remembers what was asked."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.asked: list[str] = []

    async def __call__(self, packet: bytes, question: bytes, *, over_tcp: bool) -> bytes:
        query = parsed(packet)
        self.asked.append(f"{query.q.qname}/{dnslib.QTYPE[query.q.qtype]}")
        message = self.behaviour(query)
        if message is None:
            raise NoAnswerError("scripted")
        return message


@pytest.fixture
def zone() -> Zone:
    zone = Zone(extra_zones=["corp"])
    zone.upsert_service(service("web", "shop", "10.96.0.7"))
    zone.upsert_service(external_name("out", "db.example.com"))
    zone.upsert_service(external_name("custom", "printer.cluster.local"))
    zone.synced = True
    return zone


def resolver(
    zone: Zone, upstream: Behaviour | None = None, cluster: Behaviour | None = None
) -> tuple[SplitResolver, Script, Script]:
    scripts = Script(upstream or silent), Script(cluster or silent)
    forwarders = [
        Forwarder(script) if given else None for script, given in zip(scripts, (upstream, cluster), strict=True)
    ]
    return SplitResolver(zone, upstream=forwarders[0], cluster=forwarders[1]), *scripts


async def resolve(resolver: SplitResolver, name: str, qtype: str = "A", *, over_tcp: bool = False) -> Any:
    found = resolver.answer_now(asked(name, qtype).data, over_tcp=over_tcp)
    if isinstance(found, Query):
        found = await resolver.answer(found, over_tcp=over_tcp)
    return parsed(found)


def shown(answer: Any) -> list[str]:
    return [str(rr.rdata) for rr in answer.rr]


async def test_a_cluster_name_is_answered_here_and_at_once(zone: Zone) -> None:
    served, upstream, cluster = resolver(zone, answering("192.0.2.1"), answering("192.0.2.2"))
    found = served.answer_now(asked(f"web.{SHOP}").data, over_tcp=False)
    assert isinstance(found, bytes)
    assert addresses(found) == ["10.96.0.7"]
    assert upstream.asked == cluster.asked == []
    assert served.counters.zone == 1


async def test_an_outside_name_goes_to_the_previous_resolvers(zone: Zone) -> None:
    served, upstream, cluster = resolver(zone, answering("192.0.2.1"), answering("192.0.2.2"))
    assert shown(await resolve(served, "example.com")) == ["192.0.2.1"]
    assert (upstream.asked, cluster.asked) == (["example.com./A"], [])
    assert served.counters.upstream == 1


@pytest.mark.parametrize("name", ["printer.cluster.local", "git.corp"])
async def test_a_name_only_the_cluster_knows_goes_there(zone: Zone, name: str) -> None:
    served, upstream, cluster = resolver(zone, answering("192.0.2.1"), answering("192.0.2.2"))
    assert shown(await resolve(served, name)) == ["192.0.2.2"]
    assert (upstream.asked, cluster.asked) == ([], [f"{name}./A"])
    assert served.counters.cluster == 1


async def test_before_the_first_listing_the_cluster_is_asked(zone: Zone) -> None:
    zone.synced = False
    served, _, _ = resolver(zone, denying(), answering("192.0.2.2"))
    assert shown(await resolve(served, f"gone.{SHOP}")) == ["192.0.2.2"]


async def test_what_was_asked_once_is_known_at_once(zone: Zone) -> None:
    served, _, cluster = resolver(zone, None, answering("192.0.2.2"))
    await resolve(served, "printer.cluster.local")
    assert isinstance(served.answer_now(asked("printer.cluster.local").data, over_tcp=False), bytes)
    assert len(cluster.asked) == 1


@pytest.mark.parametrize("cluster", [None, silent])
async def test_a_cluster_that_cannot_be_asked_is_a_failure_never_a_denial(
    zone: Zone, cluster: Behaviour | None
) -> None:
    served, _, _ = resolver(zone, denying(), cluster)
    assert (await resolve(served, "printer.cluster.local")).header.rcode == Rcode.SERVFAIL
    assert served.counters.failed == 1


async def test_without_previous_resolvers_outside_names_are_refused(zone: Zone) -> None:
    served, _, _ = resolver(zone)
    assert (await resolve(served, "example.com")).header.rcode == Rcode.REFUSED


async def test_silent_previous_resolvers_are_a_failure(zone: Zone) -> None:
    served, _, _ = resolver(zone, silent)
    assert (await resolve(served, "example.com")).header.rcode == Rcode.SERVFAIL


async def test_an_answer_is_not_waited_for_longer_than_a_client_waits(
    zone: Zone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver_module, "ANSWER_WITHIN_S", 0.01)

    async def never(packet: bytes, question: bytes, *, over_tcp: bool) -> bytes:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    served = SplitResolver(zone, upstream=Forwarder(never))
    assert (await resolve(served, "example.com")).header.rcode == Rcode.SERVFAIL


# --- ExternalName


async def test_an_outside_target_is_resolved_by_the_machines_own_resolvers(zone: Zone) -> None:
    served, upstream, cluster = resolver(zone, answering("192.0.2.1"), answering("192.0.2.2"))
    assert shown(await resolve(served, f"out.{SHOP}")) == ["db.example.com.", "192.0.2.1"]
    assert (upstream.asked, cluster.asked) == (["db.example.com./A"], [])


@pytest.mark.parametrize("upstream", [None, silent, denying(), failing("REFUSED"), lambda query: reply(query)])
async def test_a_target_that_only_the_cluster_can_resolve(zone: Zone, upstream: Behaviour | None) -> None:
    served, _, _ = resolver(zone, upstream, answering("192.0.2.2"))
    assert shown(await resolve(served, f"out.{SHOP}")) == ["db.example.com.", "192.0.2.2"]


async def test_a_target_in_a_zone_of_the_cluster_is_asked_of_it_alone(zone: Zone) -> None:
    served, upstream, _ = resolver(zone, answering("192.0.2.1"), answering("192.0.2.2"))
    assert shown(await resolve(served, f"custom.{SHOP}")) == ["printer.cluster.local.", "192.0.2.2"]
    assert upstream.asked == []


async def test_a_target_that_does_not_exist(zone: Zone) -> None:
    served, _, _ = resolver(zone, denying(), failing("SERVFAIL"))
    answer = await resolve(served, f"out.{SHOP}")
    assert answer.header.rcode == Rcode.NXDOMAIN
    assert shown(answer) == ["db.example.com."]


async def test_a_target_that_nobody_can_resolve(zone: Zone) -> None:
    served, _, _ = resolver(zone, silent, silent)
    assert (await resolve(served, f"out.{SHOP}")).header.rcode == Rcode.SERVFAIL


# --- changes, limits, refusals


async def test_a_kept_answer_goes_when_the_zone_changes(zone: Zone) -> None:
    served, _, _ = resolver(zone)
    await resolve(served, f"web.{SHOP}")
    zone.upsert_service(service("web", "shop", "10.96.0.70"))
    assert shown(await resolve(served, f"web.{SHOP}")) == ["10.96.0.70"]


async def test_a_name_that_the_zone_learns_while_the_cluster_is_to_be_asked(zone: Zone) -> None:
    zone.synced = False
    served, _, _ = resolver(zone, None, silent)
    query = served.answer_now(asked(f"web.{SHOP}").data, over_tcp=False)
    assert isinstance(query, Query)
    zone.synced = True
    assert addresses(await served.answer(query, over_tcp=False)) == ["10.96.0.7"]


async def test_kept_answers_are_bounded(zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver_module, "ENCODED_MAX", 10)
    served, _, _ = resolver(zone)
    for number in range(100):
        await resolve(served, f"n{number}.{SHOP}")
    assert len(served._encoded) <= 10


async def test_a_headless_service_too_large_for_udp_is_whole_over_tcp(zone: Zone) -> None:
    zone.upsert_service(service("db"))
    pods = [(f"10.244.{number // 256}.{number % 256}", None) for number in range(1000)]
    zone.upsert_endpoint_slice(endpoint_slice("db", "shop", *pods))
    served, _, _ = resolver(zone)
    cut = await resolve(served, f"db.{SHOP}")
    assert (cut.header.tc, len(cut.rr)) == (1, 29)  # as many as CoreDNS sends
    assert len((await resolve(served, f"db.{SHOP}", over_tcp=True)).rr) == 1000


@pytest.mark.parametrize("qtype", ["AXFR", "IXFR"])
async def test_zone_transfers_are_refused(zone: Zone, qtype: str) -> None:
    served, _, _ = resolver(zone)
    assert (await resolve(served, "cluster.local", qtype)).header.rcode == Rcode.REFUSED
    assert served.counters.refused == 1


async def test_other_classes_are_refused(zone: Zone) -> None:
    served, _, _ = resolver(zone)
    data = bytes(dnslib.DNSRecord(q=dnslib.DNSQuestion("version.bind", 16, 3)).pack())
    found = served.answer_now(data, over_tcp=False)
    assert isinstance(found, bytes)
    assert parsed(found).header.rcode == Rcode.REFUSED


async def test_an_unknown_version_of_edns_is_told_so(zone: Zone) -> None:
    served, _, _ = resolver(zone)
    record = dnslib.DNSRecord.question(f"web.{SHOP}")
    record.add_ar(dnslib.EDNS0(version=1))
    found = served.answer_now(bytes(record.pack()), over_tcp=False)
    assert isinstance(found, bytes)
    assert parsed(found).ar[0].ttl >> 24 == Rcode.BADVERS >> 4


async def test_garbage_is_counted(zone: Zone) -> None:
    served, _, _ = resolver(zone)
    assert served.answer_now(b"?", over_tcp=False) == b""
    assert served.counters.malformed == 1


# --- the real forwarders together


async def test_real_forwarders_to_real_servers(zone: Zone) -> None:
    async with name_server(answering("192.0.2.1")) as outside, name_server(silent, answering("192.0.2.2")) as inside:
        streams = StreamClient(asyncio.get_running_loop().create_connection, [inside.address])
        served = SplitResolver(zone, upstream=Forwarder(Upstream([outside.address])), cluster=Forwarder(streams))
        assert shown(await resolve(served, "example.com")) == ["192.0.2.1"]
        assert shown(await resolve(served, "printer.cluster.local")) == ["192.0.2.2"]
        assert shown(await resolve(served, f"out.{SHOP}")) == ["db.example.com.", "192.0.2.1"]
        streams.close()


async def test_a_forwarding_loop_ends(zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two resolvers that forward to each other, as ktpy and a local cache in front of it might."""
    monkeypatch.setattr(resolver_module, "ANSWER_WITHIN_S", 0.2)
    hops = 0

    async def back_to_us(packet: bytes, question: bytes, *, over_tcp: bool) -> bytes:
        nonlocal hops
        hops += 1
        found = served.answer_now(packet, over_tcp=over_tcp)
        return found if isinstance(found, bytes) else await served.answer(found, over_tcp=over_tcp)

    served = SplitResolver(zone, upstream=Forwarder(back_to_us))
    assert (await resolve(served, "example.com")).header.rcode == Rcode.SERVFAIL
    assert hops == 1


SEARCH = (SHOP, "svc.cluster.local", "cluster.local")
EXPANDED = "example.com.svc.cluster.lOcal"
"""What a resolver asks for `example.com`, see ktpy.helper.resolv_conf.marked."""


@pytest.fixture
def public(zone: Zone) -> Zone:
    """Services whose short names may be names of the Internet, too."""
    zone.upsert_service(service("example", "com", "10.96.6.6"))
    zone.upsert_service(service("com", "shop"))
    zone.upsert_endpoint_slice(endpoint_slice("com", "shop", ("10.244.6.6", "example")))
    zone.upsert_service(service("wpad", "shop", "10.96.6.7"))
    zone.upsert_service(service("wpad", "web", "10.96.6.8"))
    return zone


def searching(zone: Zone, upstream: Behaviour, cluster: Behaviour = silent) -> tuple[SplitResolver, Script]:
    outside = Script(upstream)
    return SplitResolver(zone, upstream=Forwarder(outside), cluster=Forwarder(Script(cluster)), search=SEARCH), outside


@pytest.mark.parametrize("name", [EXPANDED, "example.com.shop.svc.cluster.Local"])
async def test_a_short_name_that_exists_outside_is_not_the_clusters(public: Zone, name: str) -> None:
    served, outside = searching(public, answering("192.0.2.80"))
    for _ in range(2):
        found = await resolve(served, name)
        assert (found.header.rcode, shown(found)) == (Rcode.NXDOMAIN, [])
        assert len(found.auth) == 1
    assert outside.asked == ["example.com./A"]


@pytest.mark.parametrize("name", [EXPANDED, "example.com.shop.svc.cluster.Local", "example.com.svc.cluster.local"])
@pytest.mark.parametrize("outside", [denying(), failing("SERVFAIL"), silent])
async def test_a_short_name_that_does_not_exist_outside_is_the_clusters(
    public: Zone, name: str, outside: Behaviour
) -> None:
    served, _ = searching(public, outside)
    assert shown(await resolve(served, name))[0].endswith(".6.6")


async def test_a_name_of_another_type_outside_exists(public: Zone) -> None:
    served, _ = searching(public, failing("NOERROR"))
    assert (await resolve(served, EXPANDED)).header.rcode == Rcode.NXDOMAIN


async def test_a_silent_outside_is_not_waited_for_long(public: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver_module, "OUTSIDE_WITHIN_S", 0.01)

    async def never(*_: object, **__: object) -> bytes:
        await asyncio.get_running_loop().create_future()
        return b""

    served = SplitResolver(public, upstream=Forwarder(never), search=SEARCH)
    async with asyncio.timeout(3):
        assert shown(await resolve(served, EXPANDED)) == ["10.96.6.6"]


@pytest.mark.parametrize(
    "name", ["example.com.svc.cluster.local", "web.shop.svc.cluster.Local", "gone.com.svc.cluster.lOcal"]
)
async def test_whole_names_names_of_one_label_and_absent_ones_ask_nobody(public: Zone, name: str) -> None:
    served, outside = searching(public, answering("192.0.2.80"))
    assert isinstance(served.answer_now(asked(name).data, over_tcp=False), bytes)
    assert outside.asked == []


async def test_a_denied_short_name_denies_nothing_else(public: Zone) -> None:
    served, _ = searching(public, answering("192.0.2.80"))
    await resolve(served, EXPANDED)
    assert shown(await resolve(served, "example.com.svc.cluster.local")) == ["10.96.6.6"]
    assert (await resolve(served, EXPANDED)).header.rcode == Rcode.NXDOMAIN


async def test_a_short_name_that_the_clusters_dns_knows_is_the_outsides_too(public: Zone) -> None:
    served, _ = searching(public, answering("192.0.2.80"), answering("10.96.6.9"))
    for _ in range(2):
        assert (await resolve(served, "example.com.cluster.LOcal")).header.rcode == Rcode.NXDOMAIN
    assert shown(await resolve(served, "example.com.cluster.local")) == ["10.96.6.9"]


@pytest.mark.parametrize("name", [f"wpad.{SHOP}", "WPAD.svc.cluster.lOcal", "wpad.cluster.local"])
async def test_no_service_is_found_as_a_web_proxy(public: Zone, name: str) -> None:
    served, _ = searching(public, answering("192.0.2.80"), answering("10.96.6.9"))
    for qtype in ("A", "AAAA"):
        assert (await resolve(served, name, qtype)).header.rcode == Rcode.NXDOMAIN
    assert served.counters.refused == 2
    assert shown(await resolve(served, "wpad.web.svc.cluster.local")) == ["10.96.6.8"]


async def test_where_an_alias_leads_is_told_before_it_is_answered(zone: Zone) -> None:
    told: list[str] = []

    async def on_alias(addresses: list[Any]) -> None:
        told.extend(map(str, addresses))

    served = SplitResolver(zone, upstream=Forwarder(Script(answering("10.9.8.7"))), on_alias=on_alias)
    assert shown(await resolve(served, f"out.{SHOP}")) == ["db.example.com.", "10.9.8.7"]
    assert told == ["10.9.8.7"]
    await resolve(served, "db.example.com")
    assert told == ["10.9.8.7"]


@pytest.mark.parametrize("qtype", ["A", "CNAME"])
async def test_an_alias_of_a_name_with_too_long_a_label_is_refused_counted_and_said_once(
    zone: Zone, caplog: pytest.LogCaptureFixture, qtype: str
) -> None:
    zone.upsert_service(external_name("long", f"{'x' * 64}.example.com"))
    served, upstream, _ = resolver(zone, answering("192.0.2.1"), answering("192.0.2.2"))
    for _ in range(3):
        assert (await resolve(served, f"long.{SHOP}", qtype)).header.rcode == Rcode.SERVFAIL
    assert (served.counters.unencodable, upstream.asked) == (3, [])
    [record] = caplog.records
    assert record.exc_info is None
    assert "has a label of more than 63 bytes" in record.getMessage()


async def test_a_name_under_svc_that_only_the_cluster_knows(zone: Zone) -> None:
    zone.set_scope({"shop"})
    served, upstream, cluster = resolver(zone, answering("192.0.2.1"), answering("10.96.0.9"))
    assert shown(await resolve(served, "web.other.svc")) == ["web.other.svc.cluster.local.", "10.96.0.9"]
    assert (upstream.asked, cluster.asked) == ([], ["web.other.svc.cluster.local./A"])


async def test_addresses_that_the_cluster_tells_are_told_as_their_stand_ins(zone: Zone) -> None:
    zone.stand_ins.add(ip_network("192.0.2.0/24"), ip_network("240.0.0.0/24"))
    served, _, cluster = resolver(zone, denying(), answering("192.0.2.2"))
    for _ in range(2):  # the second comes from the cache
        assert shown(await resolve(served, "git.corp")) == ["240.0.0.2"]
    assert cluster.asked == ["git.corp./A"]
    assert shown(await resolve(served, f"out.{SHOP}")) == ["db.example.com.", "240.0.0.2"]


async def test_addresses_that_the_machines_own_resolvers_tell_are_reached_as_they_are(zone: Zone) -> None:
    zone.stand_ins.add(ip_network("192.0.2.0/24"), ip_network("240.0.0.0/24"))
    served, _, _ = resolver(zone, answering("192.0.2.3"), denying())
    assert shown(await resolve(served, "example.com")) == ["192.0.2.3"]
    assert shown(await resolve(served, f"out.{SHOP}")) == ["db.example.com.", "192.0.2.3"]


async def test_the_name_of_a_stand_in_that_only_the_cluster_knows(zone: Zone) -> None:
    zone.stand_ins.add(ip_network("192.0.2.0/24"), ip_network("240.0.0.0/24"))
    cluster_knows = lambda query: reply(query, f"{query.q.qname} 60 PTR node-1.corp.")  # noqa: E731
    served, upstream, cluster = resolver(zone, denying(), cluster_knows)
    found = await resolve(served, "9.0.0.240.in-addr.arpa", "PTR")
    assert shown(found) == ["9.2.0.192.in-addr.arpa.", "node-1.corp."]
    assert (upstream.asked, cluster.asked) == ([], ["9.2.0.192.in-addr.arpa./PTR"])


async def test_what_only_the_dns_of_a_named_cluster_knows_is_asked_of_nobody_else() -> None:
    zone = Zone(known_as="east")  # and nothing is known of it yet
    served, upstream, cluster = resolver(zone, answering("192.0.2.1"), answering("192.0.2.2"))
    assert shown(await resolve(served, "web.shop.svc.east")) == [f"web.{SHOP}.", "192.0.2.2"]
    assert (upstream.asked, cluster.asked) == ([], [f"web.{SHOP}./A"])
    assert shown(await resolve(served, f"web.{SHOP}")) == ["192.0.2.1"]
