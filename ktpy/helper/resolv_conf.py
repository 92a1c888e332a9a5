"""This module reads /etc/resolv.conf as glibc does, and writes one that asks ktpy first. Pure: text in, text out.

The user's own name servers stay listed after ours. When everything of ktpy is killed at once, ours is a dead
loopback port, which refuses in an instant, and glibc goes on to the next: the machine can still look up names.
"""

from collections.abc import Collection, Sequence
from ipaddress import IPv4Network, ip_address
from typing import Final

from ktpy.helper.wire import Address
from ktpy.wire.resolv_conf import ParsedResolvConf
from ktpy.wire.resolv_conf import parse as parse_text

UNSET_NAMESERVER = "127.0.0.1"
"""What glibc asks when the file names nobody (resolv.conf(5))."""

DNS_LOOPBACK: Final = IPv4Network("127.18.0.0/16")
"""The helper binds port 53 in this range, which nobody else uses, for a session that this file names."""

GLIBC_READS: Final = 3
"""How many name servers of the file glibc asks; it skips those that come later."""

OPTIONS_DROPPED = frozenset({"rotate"})
"""`rotate` would send every other look-up to another server."""

NDOTS = 2
"""Names with fewer dots are tried with the search list first, so that `web.shop` is the cluster's service. With glibc's
1 the outside is asked first, and many a namespace is called as a top-level domain is. A pod has 5."""


def parse(content: bytes) -> ParsedResolvConf:
    """Read a resolv.conf, see `ktpy.wire.resolv_conf.parse`; bytes that are no UTF-8 survive until `render`."""
    return parse_text(content.decode(errors="surrogateescape"))


def render(
    previous: ParsedResolvConf,
    nameservers: tuple[Address, ...],
    search: tuple[str, ...],
    cluster_domain: str,
    host_name: str,
) -> bytes:
    """Return the file while ktpy runs: our name servers first, then all that was there, each once.

    Name servers of other sessions come next, but one of the user's own is among those that glibc asks: when all
    sessions are killed at once, it is the only one that answers.

    `host_name` is the machine's own. glibc derives a search domain from it where the file names none; with ours there,
    that domain has to be written out.
    """
    others = asked_by(previous.nameservers or (UNSET_NAMESERVER,), ())
    others = [address for address in others if address not in map(str, nameservers)]
    theirs = sum(map(is_of_a_session, others))
    if GLIBC_READS - len(nameservers) <= theirs < len(others):
        others.insert(GLIBC_READS - len(nameservers) - 1, others.pop(theirs))
    lines = [
        f"# Written by ktpy, which resolves {cluster_domain} here and puts the previous file back when it ends.",
        "# Should this ever be left over: sudo ktpy clean",
        *(f"nameserver {address}" for address in (*nameservers, *others)),
    ]
    appended = marked(search) if nameservers else search  # systemd-resolved in between may not keep the case
    lines += _domains_and_options(previous, appended, search, host_name)
    return "\n".join([*lines, *previous.others, ""]).encode(errors="surrogateescape")


def render_private(previous: ParsedResolvConf, nameserver: Address, search: tuple[str, ...], host_name: str) -> bytes:
    """Return the file that a program sees in a network of its own, where `nameserver` is the only one."""
    told = _domains_and_options(previous, marked(search), search, host_name)
    lines = ["# Written by ktpy for one program: the machine's own file is another.", f"nameserver {nameserver}", *told]
    return "\n".join([*lines, *previous.others, ""]).encode(errors="surrogateescape")


def asked_by(listed: Sequence[str], ours: Collection[str]) -> list[str]:
    """Return whom the session at `ours` asks about other names: sessions first, which know names that others deny.

    A session that is listed before ours asks ours, so it is left out: the two would ask each other without end.
    """
    before = listed[: next((place for place, address in enumerate(listed) if address in ours), 0)]
    left_out = {*ours, *filter(is_of_a_session, before)}
    asked = [address for address in dict.fromkeys(listed) if address not in left_out]
    return sorted(asked, key=is_of_a_session, reverse=True)


def is_of_a_session(address: str) -> bool:
    """Tell whether a name server is a session's, of whatever user."""
    try:
        return ip_address(address) in DNS_LOOPBACK
    except ValueError:  # glibc takes `fe80::1%eth0`, and who wrote the file may have written anything
        return False


def _domains_and_options(
    previous: ParsedResolvConf, appended: Sequence[str], search: Sequence[str], host_name: str
) -> list[str]:
    own_search = previous.search or tuple(filter(None, [host_name.partition(".")[2]]))
    options = [option for option in previous.options if option not in OPTIONS_DROPPED]
    if search and not any(_ndots(option) >= NDOTS for option in options):
        options = [*(option for option in options if not option.startswith("ndots:")), f"ndots:{NDOTS}"]
    domains = [*appended, *(domain for domain in dict.fromkeys(own_search) if domain.lower() not in (*search, "."))]
    return ["search " + " ".join(domains)] * bool(domains) + ["options " + " ".join(options)] * bool(options)


def marked(search: Sequence[str]) -> tuple[str, ...]:
    """Return the search domains with capitals in the last label that tell each one's place.

    Resolvers append a search domain as it is written, and names compare without regard to case. So a name server can
    tell a short name that was expanded (`example.com.svc.cluster.Local`) from a name that was written out.
    """
    return tuple(_capitalised(domain, place) for place, domain in enumerate(search, 1))


def _capitalised(domain: str, bits: int) -> str:
    head, dot, last = domain.rpartition(".")
    return head + dot + "".join(char.upper() if bits >> place & 1 else char for place, char in enumerate(last))


def _ndots(option: str) -> int:
    name, _, value = option.partition(":")
    return int(value) if name == "ndots" and value.isdecimal() else 0
