"""The proxy that the environment asks for, as kubectl reads it (golang.org/x/net/http/httpproxy)."""

import os
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit


def proxy_for(server: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the URL of the proxy to `server`, or None for a direct connection.

    HTTPS_PROXY or HTTP_PROXY by the server's scheme, unless NO_PROXY names the host; never for this machine itself.
    """
    url = urlsplit(server)
    host = (url.hostname or "").lower()
    proxy = _variable(environment, f"{url.scheme}_proxy")
    if not proxy or host == "localhost" or _is_loopback(host):
        return None
    exceptions = [entry.strip().lower() for entry in _variable(environment, "no_proxy").split(",") if entry.strip()]
    if any(_covers(entry, host, url.port) for entry in exceptions):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _variable(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name.upper()) or environment.get(name) or ""


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _covers(entry: str, host: str, port: int | None) -> bool:
    """Match one entry of NO_PROXY: `*`, a network, an address or a domain (with subdomains), each maybe with a port."""
    if entry == "*":
        return True
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:
        pass
    name, _, entry_port = entry.partition(":")
    if entry_port and entry_port != str(port):
        return False
    domain = name.removeprefix("*")
    return host.endswith(domain) if domain.startswith(".") else host == domain or host.endswith(f".{domain}")
