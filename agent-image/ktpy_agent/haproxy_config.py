"""HAProxy's configuration is rendered from the gateway's spec and its live routes. Pure.

For HAProxy 2.6 and later. Whatever a laptop named passes through `quote`, and stands at the end of its line, after
`--`: there HAProxy takes no word for an option or for the end of an expression.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from ktpy.wire.gateway import GatewaySpec, Port
from ktpy.wire.route import Match
from ktpy_agent import haproxy_taps
from ktpy_agent.baggage import member_regex
from ktpy_agent.haproxy_taps import Share
from ktpy_agent.routes import Route

# The gateway must never be what ends a quiet stream (server-sent events, WebSocket, gRPC, a database's session): hence
# a day, and TCP keep-alives to find the peers that are gone. `http-keep-alive` bounds how long an idle client keeps
# the previous process alive after a reload. `timeout client` is also how long HAProxy keeps reading from a client whose
# upload a pod has refused; the ports themselves set it to a day, but for one that stops in the middle of that.
# It is also how long a request's head may pause; `http-ignore-probes` closes a connection that was never used without a
# word, since a client that opened it in advance would take a 408 for the answer to its first request.
_DEFAULTS = """
defaults
  mode http
  timeout connect 2s
  timeout check 1s
  timeout client 5s
  timeout server 24h
  timeout tunnel 24h
  timeout http-request 60s
  timeout http-keep-alive 5m
  option clitcpka
  option srvtcpka
  clitcpka-idle 60s
  clitcpka-intvl 15s
  clitcpka-cnt 4
  srvtcpka-idle 60s
  srvtcpka-intvl 15s
  srvtcpka-cnt 4
  retries 3
  option redispatch 1
"""

# A laptop's server is up while its socket is (checked at a socket of the agent's, so that the check never reaches the
# laptop).
_LOCAL = "check addr unix@{alive} inter 500ms downinter 50ms fall 1 rise 1"
# With original pods behind it, it is down with the first connection that fails, too: only then do retries go to them.
# Without, a retry a second later finds the laptop again where sshd's queue of 128 connections was full for an instant.
_UNTIL_IT_FAILS = " observe layer4 error-limit 1 on-error mark-down"
# A laptop's end can fail one request several times before it is down: its connection ends, the next one waits in a
# queue that sshd then drops, the third is refused. A request with no retry left would not get to the original pods.
_RETRIES = "  retries 6"
# idle-close-on-response: a process that is being replaced answers one more request on a kept connection, and only
# then closes it, so no client finds its connection closed while it sends.
# accept-invalid-http-*: what the original pods took without a gateway, they get with one, such as a path in UTF-8. No
# field name that is not a token (RFC 9110, 5.6.2): a pod may read it as another, and so the message's end elsewhere.
# An upgrade to h2c (obsolete, RFC 9113 3.1) would hide all later requests of the connection from the matches.
_TOKENS = r"'^(?:[-!#$%&'\''*+.^_`|~0-9A-Za-z]+(?::(?!$)|$))*$'"
_HTTP_FRONTEND = (
    """\
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
  http-request deny deny_status 400 unless { req.hdr_names(:) -m reg -- """
    + _TOKENS
    + """ }
  http-request del-header http2-settings
  http-request del-header upgrade if { req.hdr(upgrade) -m str -i h2c }
  http-request disable-l7-retry unless { method GET HEAD OPTIONS TRACE PUT DELETE }"""  # RFC 9110, 9.2.2
)
# HAProxy writes names of header fields in lower case. Programs that take their case for meaningful, against RFC 9110
# (5.1), expect these.
_NAMES = """
Accept Accept-Charset Accept-Encoding Accept-Language Accept-Ranges Access-Control-Allow-Credentials
Access-Control-Allow-Headers Access-Control-Allow-Methods Access-Control-Allow-Origin Access-Control-Expose-Headers
Access-Control-Max-Age Access-Control-Request-Headers Access-Control-Request-Method Age Allow Authorization
Cache-Control Connection Content-Disposition Content-Encoding Content-Language Content-Length Content-Location
Content-MD5 Content-Range Content-Security-Policy Content-Type Cookie Date ETag Expect Expires Forwarded From Host
If-Match If-Modified-Since If-None-Match If-Range If-Unmodified-Since Keep-Alive Last-Modified Link Location
Max-Forwards MIME-Version Origin Pragma Proxy-Authenticate Proxy-Authorization Range Referer Retry-After
Sec-WebSocket-Accept Sec-WebSocket-Extensions Sec-WebSocket-Key Sec-WebSocket-Protocol Sec-WebSocket-Version Server
Set-Cookie SOAPAction Strict-Transport-Security TE Trailer Transfer-Encoding Upgrade User-Agent Vary Via Warning
WWW-Authenticate X-Forwarded-For X-Forwarded-Host X-Forwarded-Port X-Forwarded-Proto X-Real-IP X-Request-ID
X-Requested-With"""
# 1,000 buffers are 128 MB: that much unfinished requests may take. Who comes then waits for one, a 408 after 5 s.
# Where HAProxy 2.6 had used them up, it served nobody any more.
_BUFFERS = (".if version_atleast(3.0)", "  tune.buffers.limit 1000", ".endif")
# Until a pod has said how many streams it takes on a connection, all of a burst would go over one.
_POD_STREAMS = (".if version_atleast(2.8)", "  tune.h2.be.max-concurrent-streams 100", ".endif")
# HAProxy would read the machine's certificates with each start, for requests of its own, of which a gateway makes none.
_NO_CLIENT = ("  httpclient.ssl.verify none",)
_QUIET_CLIENT = "  timeout client 24h"
_HTTP_BACKEND = """\
  option accept-invalid-http-response
  option h1-case-adjust-bogus-server"""
# Once a server has a request, it may close instead of an answer: then another one gets it. For that HAProxy copies the
# whole buffer of each request, which doubles its processor time. A client of HTTP/1.1 needs none of it before the
# original pods: its connection is closed with the pod's, as without a gateway, and it asks again by its own rules.
_RETRY_UNANSWERED = "  retry-on conn-failure empty-response"


LEAST_MAPPED = 16
"""Fewer rules in a row cost less than a map of them."""

# A process that was replaced goes on with the connections that it has. It hands each request of theirs on to the
# present process, so that a route that begins has effect on them at once. Once this word is added to the ACL whose id
# is the port's number, nobody replaces it, and it serves by its own routes to the last.
LAST = "last"


class Machine(NamedTuple):
    """A Machine is what the configuration depends on besides the routes."""

    run_dir: str
    ready_port: int
    threads: int
    max_connections: int
    has_ipv6: bool
    listeners: Mapping[int, int] = {}
    """The descriptors of sockets that HAProxy inherits, by port."""


class Config(NamedTuple):
    """A Config is what HAProxy loads."""

    text: str
    maps: dict[str, str]
    """The contents of the map files that the text names, by path (manual, 7.3.1 "Converters": map)."""


def render(
    machine: Machine, spec: GatewaySpec, routes: Sequence[Route], last_owner: dict[int, str], generation: int
) -> Config:
    """Render the whole configuration. `generation` tells from outside which one HAProxy has loaded."""
    lines = [*_global_lines(machine, generation), _DEFAULTS]
    taps = [route for route in routes if route.copied_percent]
    routes = [route for route in routes if not route.copied_percent]
    lines += haproxy_taps.ring(machine.run_dir) if taps else []
    lines += ["frontend ready", _bind(machine, machine.ready_port), "  monitor-uri /ready", ""]
    maps: dict[str, str] = {}
    for port in spec.tcp_ports:
        of_port = [route for route in routes if route.port == port]
        if port.http:
            rules = _rules(machine, of_port, generation)
            shares = [_share(route) for route in taps if route.port == port]
            lines += _http_frontends(machine, port, of_port, shares, rules)
            maps |= rules.maps
        else:
            lines += _tcp_frontend(machine, port, of_port)
        lines += _origin(spec, port, last_owner.get(port.port))
        for route in of_port:
            lines += _route(machine, spec, route)
    return Config("\n".join(lines), maps)


def quote(text: str) -> str:
    """Render one word of HAProxy's configuration that stands for exactly `text` (manual, 2.2 "Quoting and escaping").

    Nothing is special between single quotes, not even a backslash; a single quote itself stands outside.
    """
    return "'" + text.replace("'", "'\\''").replace("\n", "'\\n'") + "'"


def _global_lines(machine: Machine, generation: int) -> list[str]:
    # bufsize bounds the header fields of a message, and which requests can be retried: more than common servers take.
    # An open HTTP/2 stream costs some 4 KB, and those beyond what the pods take on a connection get another connection.
    return [
        "global",
        f"  stats socket {machine.run_dir}/haproxy.sock mode 600 level admin expose-fd listeners",
        f"  description ktpy-{generation}",
        f"  nbthread {machine.threads}",
        f"  maxconn {machine.max_connections}",
        "  mworker-max-reloads 30",
        "  tune.bufsize 131072",
        *_BUFFERS,
        *_NO_CLIENT,
        "  tune.http.maxhdr 512",
        *(f"  h1-case-adjust {name.lower()} {name}" for name in _NAMES.split()),
        "  tune.h2.max-concurrent-streams 2000",
        *_POD_STREAMS,
    ]


def _bind(machine: Machine, port: int) -> str:
    if (listener := machine.listeners.get(port)) is not None:
        return f"  bind fd@{listener}"
    return f"  bind :::{port} v4v6" if machine.has_ipv6 else f"  bind 0.0.0.0:{port}"


def _tcp_frontend(machine: Machine, port: Port, routes: list[Route]) -> list[str]:
    return [
        f"frontend port{port.port}",
        _bind(machine, port.bind),
        "  mode tcp",
        _QUIET_CLIENT,
        f"  default_backend {(routes[0].name if routes else f'origin{port.port}')}_tcp",
        "",
    ]


def _http_frontends(machine: Machine, port: Port, routes: list[Route], taps: list[Share], rules: "_Rules") -> list[str]:
    """Render one port: the matches first, oldest first, then an exchange, then the original pods."""
    exchanged = next((route.name for route in routes if route.match is None), f"origin{port.port}")
    otherwise = [f"  use_backend {exchanged}_h%[fc_http_major]", ""]
    lines = [
        f"frontend port{port.port}",
        _bind(machine, port.bind),
        f"  bind {_handed_on(machine, port, 'next')} mode 600",
        *(haproxy_taps.choice(taps) if taps else []),
        _HTTP_FRONTEND,
        f"  acl is_last str({LAST}) -u {port.port} -m str -- not-{LAST}",
        *(haproxy_taps.telling("{ stopping } !is_last") if taps else []),
        f"  use_backend next{port.port}_h%[fc_http_major] if {{ stopping }} !is_last",
    ]
    if not rules.maps:
        return [*lines, *rules.lines, *otherwise, *_handing_on(machine, port, "next")]
    return [
        *lines,
        *(f"  acl is_doubtful {criterion}" for criterion in rules.doubts),
        # One that stops does not listen any more, also not to itself.
        f"  use_backend rules{port.port}_h%[fc_http_major] if is_doubtful !{{ stopping }}",
        *rules.lines,
        *otherwise,
        f"frontend rules{port.port}",
        f"  bind {_handed_on(machine, port, 'rules')} mode 600",
        _HTTP_FRONTEND,
        *(line for route in routes if route.match for line in _match(route.name, route.match)),
        *otherwise,
        *_handing_on(machine, port, "next"),
        *_handing_on(machine, port, "rules"),
    ]


def _handed_on(machine: Machine, port: Port, to: str) -> str:
    """Return where HAProxy takes what it hands on to itself."""
    return f"unix@{machine.run_dir}/{to}{port.port}.sock"


def _handing_on(machine: Machine, port: Port, to: str) -> list[str]:
    """Render the way to the process that replaces this one (`next`), or to the front end with all rules (`rules`)."""
    lines: list[str] = []
    for suffix, proto in _variants(port):
        server = f"  server {to} {_handed_on(machine, port, to)}{proto}"
        lines += [f"backend {to}{port.port}_{suffix}", _HTTP_BACKEND, _RETRY_UNANSWERED, server, ""]
    return lines


class _Rules(NamedTuple):
    """_Rules choose the route of a request by maps, where many routes in a row differ by the value of one header only.

    A thousand rules cost each request 0.05 to 0.2 ms of the processor, and more with those of baggage; a map some 5 us.
    """

    lines: list[str]
    maps: dict[str, str]
    doubts: list[str]
    """Criteria of requests that a map may not decide: those with several values, of which the oldest route counts."""


def _rules(machine: Machine, routes: list[Route], generation: int) -> _Rules:
    lines: list[str] = []
    maps: dict[str, str] = {}
    doubts: dict[str, None] = {}
    matched = [(route.name, route.match) for route in routes if route.match is not None]
    for header, group in groupby(matched, lambda each: _mapped_header(each[1])):
        run = list(group)
        if header is None or len(run) < LEAST_MAPPED:
            lines += (line for name, match in run for line in _match(name, match))
            continue
        path = f"{machine.run_dir}/{generation}-{run[0][0]}.map"
        values = {match.headers[0].value: name for name, match in reversed(run)}  # the oldest has it
        maps[path] = "".join(f"{value} {name}\n" for value, name in values.items())
        found = f"req.fhdr({header}),map_str({path})"
        lines.append(f"  use_backend %[{found}]_h%[fc_http_major] if {{ {found} -m found }}")
        doubts[f"req.fhdr_cnt({header}) gt 1"] = None
        keys = {key for _, match in run for key, _ in match.baggage}
        doubts |= dict.fromkeys(f"req.fhdr(baggage) -m sub -- {quote(key)}" for key in sorted(keys))
    return _Rules(lines, maps, list(doubts))


def _mapped_header(match: Match) -> str | None:
    """Return the name of the one header by whose value a match can stand in a map; baggage is its alternative.

    In the lines of a map file a space ends the value, and `#` begins a comment.
    """
    if len(match.headers) != 1 or match.path_prefix is not None:
        return None
    [(name, value, is_regex)] = match.headers
    return None if is_regex or " " in value or value.startswith("#") else name


def _share(tap: Route) -> Share:
    definitions, alternatives = _criteria(tap.name, tap.match or Match())
    return Share(tap.name, tap.copied_percent or 100, definitions, alternatives)


def _match(name: str, match: Match) -> list[str]:
    lines, alternatives = _criteria(name, match)
    return lines + [f"  use_backend {name}_h%[fc_http_major] if {' '.join(names)}" for names in alternatives]


def _criteria(name: str, match: Match) -> tuple[list[str], list[list[str]]]:
    """Return the lines that define a match's ACLs, and its alternatives: the names of those that have to hold."""
    lines: list[str] = []
    alternatives: list[list[str]] = []
    for kind, criteria in (("header", _header_criteria(match)), ("baggage", _baggage_criteria(match))):
        names = [f"{name}_{kind}{number}" for number in range(len(criteria))]
        lines += [f"  acl {acl} {criterion}" for acl, criterion in zip(names, criteria, strict=True)]
        if names:
            alternatives.append(names)
    below: list[str] = []
    if match.path_prefix is not None:
        below = [f"{name}_path"]
        lines += [f"  acl {name}_path {criterion}" for criterion in _path_criteria(match.path_prefix)]
    return lines, [names + below for names in alternatives or [[]]]


def _header_criteria(match: Match) -> list[str]:
    """Use req.fhdr, each line of the header as a whole, since a comma separates nothing in most of them."""
    return [
        f"req.fhdr({header.name}) -m {'reg' if header.is_regex else 'str'} -- {quote(header.value)}"
        for header in sorted(match.headers)
    ]


def _baggage_criteria(match: Match) -> list[str]:
    return [f"req.fhdr(baggage) -m reg -- {quote(member_regex(key, value))}" for key, value in sorted(match.baggage)]


def _path_criteria(prefix: str) -> list[str]:
    """Match whole path elements, as an Ingress's pathType Prefix has it: /a holds for /a and /a/b, not for /ab."""
    prefix = prefix.rstrip("/")
    return [f"path -m beg -- {quote(prefix + '/')}"] + ([f"path -m str -- {quote(prefix)}"] if prefix else [])


def _origin(spec: GatewaySpec, port: Port, last_owner: str | None) -> list[str]:
    """Render the original pods alone; for a preview, which has none, the answer that nobody serves now."""
    away = f"{last_owner}'s laptop is away" if last_owner else "no laptop is connected"
    refusal = _refusal(f"preview {spec.target}: {away}, so nothing serves port {port.port} now.\n")
    lines: list[str] = []
    for suffix, proto in _variants(port):
        lines += [f"backend origin{port.port}_{suffix}"]
        if spec.origin is not None:
            lines += [_mode(port), *([_RETRY_UNANSWERED] if suffix == "h2" else [])]
            lines += [f"  server origin {_address(spec.origin, port.port)}{proto}"]
        else:
            lines += ["  mode tcp"] if not port.http else [refusal]
        lines += [""]
    return lines


def _route(machine: Machine, spec: GatewaySpec, route: Route) -> list[str]:
    """Render one laptop, with the original pods behind it unless its owner wants requests to fail then."""
    stem = f"{machine.run_dir}/routes/{route.stem}"
    refusal = _refusal(
        f"port {route.port.port} of {spec.target} is served by {route.owner}'s laptop, which is away"
        " or does not listen now.\n"
    )
    origin = None if route.fails_when_down else spec.origin
    lines: list[str] = []
    for suffix, proto in _variants(route.port):
        lines += [f"backend {route.name}_{suffix}", _mode(route.port)]
        lines += [_RETRY_UNANSWERED] if route.port.http else []
        check = _LOCAL.format(alive=f"{stem}.alive") + (_UNTIL_IT_FAILS if origin else "")
        lines += [f"  server local unix@{stem}.sock{proto} {check}" + (" check-proto none" if proto else "")]
        if origin:
            lines += [_RETRIES, f"  server origin {_address(origin, route.port.port)}{proto} backup"]
        elif route.port.http:
            lines += [refusal]
        lines += [""]
    return lines


def _variants(port: Port) -> list[tuple[str, str]]:
    """Return suffixes of back ends and what their servers speak: HTTP goes on as it came, in one version a server."""
    return [("h1", ""), ("h2", " proto h2")] if port.http else [("tcp", "")]


def _mode(port: Port) -> str:
    return _HTTP_BACKEND if port.http else "  mode tcp"


def _refusal(text: str) -> str:
    return f"  http-error status 503 content-type 'text/plain; charset=utf-8' string {quote(text)}"


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
