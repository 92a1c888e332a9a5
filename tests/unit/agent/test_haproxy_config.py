"""The rendered configuration, word for word."""

from ktpy_agent.baggage import member_regex
from ktpy_agent.haproxy_config import LEAST_MAPPED, Machine, quote, render
from ktpy_agent.routes import Route

from ktpy.wire.gateway import GatewaySpec, Port
from ktpy.wire.route import Header, Match

HTTP = Port(80, "http", 8080, "TCP", http=True)
REDIS = Port(6379, "", 6379, "TCP", http=False)
DNS = Port(53, "dns", 53, "UDP", http=False)
MACHINE = Machine("/run/ktpy", 2223, threads=2, max_connections=9000, has_ipv6=True)


def match(*headers: Header, path: str | None = None, baggage: dict[str, str] | None = None) -> Match:
    return Match(headers, path, tuple((baggage or {}).items()))


def exact(name: str, text: str) -> Header:
    return Header(name, text, is_regex=False)


def route(serial: int, wanted: Match | None, *, owner: str = "", port: Port = HTTP, fails: bool = True) -> Route:
    return Route(serial, f"s{serial}", owner or f"owner{serial}", port, wanted, fails, token="f")


def rendered(spec: GatewaySpec, *routes: Route) -> str:
    """Without the parts that are the same in every configuration."""
    text = render(MACHINE, spec, routes, {}, 7).text
    return text[text.index("frontend ready") :]


def test_an_http_port_with_a_mesh_and_an_exchange() -> None:
    mesh = match(exact("version", "foobar"), path="/api", baggage={"v": "f"})
    spec = GatewaySpec("web", "10.96.1.2", (HTTP,))
    assert rendered(spec, route(1, None, fails=False), route(2, mesh)) == (
        """\
frontend ready
  bind :::2223 v4v6
  monitor-uri /ready

frontend port80
  bind :::8080 v4v6
  bind unix@/run/ktpy/next80.sock mode 600
.if version_atleast(2.9)
  http-request set-timeout client 24h
.else
  timeout client 24h
.endif
.if version_atleast(3.0)
  http-response set-timeout client 5s if { status ge 400 } !{ capture.req.method GET HEAD }
.endif
  option idle-close-on-response
  option http-ignore-probes
  option accept-invalid-http-request
  option h1-case-adjust-bogus-client
  http-request deny deny_status 400 unless { req.hdr_names(:) -m reg --\
 '^(?:[-!#$%&'\\''*+.^_`|~0-9A-Za-z]+(?::(?!$)|$))*$' }
  http-request del-header http2-settings
  http-request del-header upgrade if { req.hdr(upgrade) -m str -i h2c }
  http-request disable-l7-retry unless { method GET HEAD OPTIONS TRACE PUT DELETE }
  acl is_last str(last) -u 80 -m str -- not-last
  use_backend next80_h%[fc_http_major] if { stopping } !is_last
  acl route2_header0 req.fhdr(version) -m str -- 'foobar'
  acl route2_baggage0 req.fhdr(baggage) -m reg -- '(?:^|,)[ \\t]*v[ \\t]*=[ \\t]*(?:f|%66)[ \\t]*(?:[,;]|$)'
  acl route2_path path -m beg -- '/api/'
  acl route2_path path -m str -- '/api'
  use_backend route2_h%[fc_http_major] if route2_header0 route2_path
  use_backend route2_h%[fc_http_major] if route2_baggage0 route2_path
  use_backend route1_h%[fc_http_major]

backend next80_h1
  option accept-invalid-http-response
  option h1-case-adjust-bogus-server
  retry-on conn-failure empty-response
  server next unix@/run/ktpy/next80.sock

backend next80_h2
  option accept-invalid-http-response
  option h1-case-adjust-bogus-server
  retry-on conn-failure empty-response
  server next unix@/run/ktpy/next80.sock proto h2

backend origin80_h1
  option accept-invalid-http-response
  option h1-case-adjust-bogus-server
  server origin 10.96.1.2:80

backend origin80_h2
  option accept-invalid-http-response
  option h1-case-adjust-bogus-server
  retry-on conn-failure empty-response
  server origin 10.96.1.2:80 proto h2

backend route1_h1
  option accept-invalid-http-response
  option h1-case-adjust-bogus-server
  retry-on conn-failure empty-response
  server local unix@/run/ktpy/routes/s1-80-f.sock check addr unix@/run/ktpy/routes/s1-80-f.alive inter 500ms\
 downinter 50ms fall 1 rise 1 observe layer4 error-limit 1 on-error mark-down
  retries 6
  server origin 10.96.1.2:80 backup

backend route1_h2
  option accept-invalid-http-response
  option h1-case-adjust-bogus-server
  retry-on conn-failure empty-response
  server local unix@/run/ktpy/routes/s1-80-f.sock proto h2 check addr unix@/run/ktpy/routes/s1-80-f.alive inter 500ms\
 downinter 50ms fall 1 rise 1 observe layer4 error-limit 1 on-error mark-down check-proto none
  retries 6
  server origin 10.96.1.2:80 proto h2 backup

backend route2_h1
  option accept-invalid-http-response
  option h1-case-adjust-bogus-server
  retry-on conn-failure empty-response
  server local unix@/run/ktpy/routes/s2-80-f.sock check addr unix@/run/ktpy/routes/s2-80-f.alive inter 500ms\
 downinter 50ms fall 1 rise 1
  http-error status 503 content-type 'text/plain; charset=utf-8' string\
 'port 80 of web is served by owner2'\\''s laptop, which is away or does not listen now.'\\n''

backend route2_h2
  option accept-invalid-http-response
  option h1-case-adjust-bogus-server
  retry-on conn-failure empty-response
  server local unix@/run/ktpy/routes/s2-80-f.sock proto h2 check addr unix@/run/ktpy/routes/s2-80-f.alive inter 500ms\
 downinter 50ms fall 1 rise 1 check-proto none
  http-error status 503 content-type 'text/plain; charset=utf-8' string\
 'port 80 of web is served by owner2'\\''s laptop, which is away or does not listen now.'\\n''
"""
    )


def test_a_tcp_port_with_an_exchange_and_an_ipv6_origin() -> None:
    spec = GatewaySpec("db", "fd00::1", (REDIS, DNS))
    text = rendered(spec, route(1, None, port=REDIS, fails=False))
    assert text[text.index("frontend port6379") :] == (
        """\
frontend port6379
  bind :::6379 v4v6
  mode tcp
  timeout client 24h
  default_backend route1_tcp

backend origin6379_tcp
  mode tcp
  server origin [fd00::1]:6379

backend route1_tcp
  mode tcp
  server local unix@/run/ktpy/routes/s1-6379-f.sock check addr unix@/run/ktpy/routes/s1-6379-f.alive inter 500ms\
 downinter 50ms fall 1 rise 1 observe layer4 error-limit 1 on-error mark-down
  retries 6
  server origin [fd00::1]:6379 backup
"""
    )


def test_without_ipv6_only_ipv4_is_bound() -> None:
    text = render(MACHINE._replace(has_ipv6=False), GatewaySpec("web", "10.96.1.2", (HTTP,)), (), {}, 1).text
    assert "bind 0.0.0.0:8080" in text
    assert ":::" not in text


def test_many_matches_in_a_row_on_one_header_are_a_map_and_what_it_may_not_decide_goes_through_all_rules() -> None:
    versions = [route(number, match(exact("version", f"v{number}"))) for number in range(1, LEAST_MAPPED + 1)]
    versions[0] = route(1, match(exact("version", "v1"), baggage={"it's": "v1"}))
    twice = route(98, match(exact("version", "v2")))
    others = [route(99, match(exact("a", "1"))), route(100, None), route(101, match(exact("a", "#2 x")))]
    spec = GatewaySpec("web", "10.96.1.2", (HTTP,))
    config = render(MACHINE, spec, [*versions, twice, *others], {}, 7)
    (path,) = config.maps
    assert path == "/run/ktpy/7-route1.map"
    assert sorted(config.maps[path].splitlines()) == sorted(f"v{each.serial} {each.name}" for each in versions)
    first, second = (each.partition("\n\n")[0] for each in config.text.split("\nfrontend ")[2:])
    assert first.partition("acl is_last")[2].splitlines()[2:] == [
        "  acl is_doubtful req.fhdr_cnt(version) gt 1",
        "  acl is_doubtful req.fhdr(baggage) -m sub -- 'it'\\''s'",
        "  use_backend rules80_h%[fc_http_major] if is_doubtful !{ stopping }",
        "  use_backend %[req.fhdr(version),map_str(/run/ktpy/7-route1.map)]_h%[fc_http_major]"
        " if { req.fhdr(version),map_str(/run/ktpy/7-route1.map) -m found }",
        "  acl route99_header0 req.fhdr(a) -m str -- '1'",
        "  use_backend route99_h%[fc_http_major] if route99_header0",
        "  acl route101_header0 req.fhdr(a) -m str -- '#2 x'",
        "  use_backend route101_h%[fc_http_major] if route101_header0",
        "  use_backend route100_h%[fc_http_major]",
    ]
    few = render(MACHINE, spec, [*versions[1:], *others], {}, 7)
    assert not few.maps
    assert second.splitlines()[1] == "  bind unix@/run/ktpy/rules80.sock mode 600"
    rules = [line for line in few.text.splitlines() if line.startswith("  use_backend route")]
    assert set(rules) < set(second.splitlines())


def test_a_tap_has_neither_back_end_nor_rule_that_takes_a_request() -> None:
    spec = GatewaySpec("web", "10.96.1.2", (HTTP,))
    taps = (
        route(2, None)._replace(copied_percent=25),
        route(3, match(exact("a", "1"), baggage={"k": "v"}))._replace(copied_percent=1),
    )
    with_taps = rendered(spec, route(1, None), *taps)
    added = [line for line in with_taps.splitlines() if line not in rendered(spec, route(1, None)).splitlines()]
    assert [line for line in added if "route" in line] == [
        '  tcp-request content set-var-fmt(txn.taps) "%[var(txn.taps)] route2,"'
        " if { var(txn.tap_draw) -m int lt 25 } !{ var(txn.taps) -m sub -- ' route2,' }",
        "  acl route3_header0 req.fhdr(a) -m str -- '1'",
        f"  acl route3_baggage0 req.fhdr(baggage) -m reg -- {quote(member_regex('k', 'v'))}",
        *(
            '  tcp-request content set-var-fmt(txn.taps) "%[var(txn.taps)] route3,"'
            f" if {{ var(txn.tap_draw) -m int lt 1 }} !{{ var(txn.taps) -m sub -- ' route3,' }} route3_{acl}0"
            for acl in ("header", "baggage")
        ),
    ]
    assert not any("backend" in line for line in added)
