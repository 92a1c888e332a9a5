"""A resolv.conf(5) is read here as glibc reads it. Pure."""

from typing import NamedTuple


class ParsedResolvConf(NamedTuple):
    """A ParsedResolvConf is what a resolv.conf says."""

    nameservers: tuple[str, ...]
    search: tuple[str, ...]
    """When it is empty, glibc takes the domain of the machine's own name."""
    options: tuple[str, ...]
    others: tuple[str, ...]
    """Whole lines of other keywords (`sortlist`)."""


def parse(text: str) -> ParsedResolvConf:
    """Read a resolv.conf and skip what glibc skips. The last of `search` and `domain` counts, options add up."""
    nameservers: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    others: list[str] = []
    for line in text.split("\n"):  # splitlines also splits at form feeds and U+2028, so that a comment could end
        match line.split():
            case []:
                pass
            case [first, *_] if first.startswith(("#", ";")):
                pass
            case ["nameserver", address, *_]:
                nameservers.append(address)
            case ["domain", domain, *_]:
                search = (domain,)
            case ["search", *domains]:
                search = tuple(domains)
            case ["options", *more]:
                options.extend(more)
            case _:
                others.append(line)
    return ParsedResolvConf(tuple(nameservers), search, tuple(options), tuple(others))
