"""What programs are told so that they use the proxy: environment variables, and a PAC file for browsers. Pure."""

import json
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Final

LOOPBACK: Final = "127.0.0.1"
NEVER_PROXIED: Final = ("localhost", "127.0.0.1", "::1")

_PAC = """\
var suffixes = %(suffixes)s, namespaces = %(namespaces)s, networks = %(networks)s;
function FindProxyForURL(url, host) {
  var i, labels = host.toLowerCase().split(".");
  if (host == "localhost") return "DIRECT";
  if (host.indexOf(":") >= 0) return "%(proxy)s";
  if (/^\\d+\\.\\d+\\.\\d+\\.\\d+$/.test(host)) {
    for (i = 0; i < networks.length; i++)
      if (isInNet(host, networks[i][0], networks[i][1])) return "%(proxy)s";
    return "DIRECT";
  }
  if (labels.length == 1 || labels.length < 4 && namespaces.indexOf(labels[labels.length - 1]) >= 0) return "%(proxy)s";
  for (i = 0; i < suffixes.length; i++)
    if (dnsDomainIs(host.toLowerCase(), suffixes[i])) return "%(proxy)s";
  return "DIRECT";
}
"""


def proxy_url(scheme: str, port: int, login: tuple[str, str] | None) -> str:
    return f"{scheme}://{':'.join(login) + '@' if login else ''}{LOOPBACK}:{port}"


def environment(port: int, login: tuple[str, str] | None, direct: Sequence[str]) -> dict[str, str]:
    """Return the variables that programs know, in capitals and not; hosts in `direct` are not asked of the proxy."""
    http = proxy_url("http", port, login)
    values = {
        "ALL_PROXY": proxy_url("socks5h", port, login),
        "HTTP_PROXY": http,
        "HTTPS_PROXY": http,
        "NO_PROXY": ",".join(dict.fromkeys((*NEVER_PROXIED, *direct))),
    }
    return values | {name.lower(): value for name, value in values.items()}


def pac_file(
    port: int, zones: Iterable[str], namespaces: Iterable[str], networks: Iterable[IPv4Network | IPv6Network]
) -> str:
    """Return a PAC file: names and addresses of the cluster by the proxy, everything else directly.

    An IPv6 address always goes to the proxy, which knows: not every browser can match one.
    """
    ipv4 = [(str(one.network_address), str(one.netmask)) for one in networks if one.version == 4]
    return _PAC % {
        "suffixes": json.dumps([f".{zone}" for zone in zones]),
        "namespaces": json.dumps(sorted(namespaces)),
        "networks": json.dumps(ipv4),
        "proxy": f"PROXY {LOOPBACK}:{port}",
    }
