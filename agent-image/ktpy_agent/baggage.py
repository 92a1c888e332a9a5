"""W3C Baggage, matched by a regular expression (https://www.w3.org/TR/baggage/)."""

import re

# baggage-octet: what a value may have unencoded. `%` itself begins an encoded octet, so it never stands for itself.
_PLAIN = {*range(0x21, 0x7F)} - {*b'",;\\%'}


def member_regex(key: str, value: str) -> str:
    """Return a PCRE that finds the list member `key=value` in one `baggage` header.

    The header is `key1=value1;property, key2 = value2`: members separated by commas, optional white space around
    each part, properties after a semicolon. A value is UTF-8 of which each octet may be percent-encoded, with digits
    of either case, and some have to be. Keys are never encoded, and their case counts.
    """
    octets = "".join(_octet_regex(octet) for octet in value.encode())
    return rf"(?:^|,)[ \t]*{re.escape(key)}[ \t]*=[ \t]*{octets}[ \t]*(?:[,;]|$)"


def _octet_regex(octet: int) -> str:
    encoded = "%" + "".join(f"[{digit}{digit.lower()}]" if digit.isalpha() else digit for digit in f"{octet:02X}")
    return f"(?:{re.escape(chr(octet))}|{encoded})" if octet in _PLAIN else encoded
