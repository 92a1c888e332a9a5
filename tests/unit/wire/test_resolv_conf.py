import pytest

from ktpy.wire.resolv_conf import parse


@pytest.mark.parametrize(
    ("text", "nameservers", "search"),
    [
        ("", [], []),
        ("nameserver\nsearch\n", [], []),
        ("# a comment\fnameserver 192.0.2.1\n", [], []),
        ("# a comment\u2028nameserver 192.0.2.1\x85nameserver 192.0.2.2\n", [], []),
        ("nameserver 192.0.2.1\r\nsearch a\r\n", ["192.0.2.1"], ["a"]),
        ("# nameserver 192.0.2.1\n; search a\n", [], []),
        ("nameserver 192.0.2.1\nnameserver 2001:db8::1 # second\n", ["192.0.2.1", "2001:db8::1"], []),
        ("search a b\nsearch c\n", [], ["c"]),
        ("search a b\ndomain c\n", [], ["c"]),
        ("\tsearch\ta   b\n", [], ["a", "b"]),
    ],
)
def test_resolv_conf(text: str, nameservers: list[str], search: list[str]) -> None:
    found = parse(text)
    assert (list(found.nameservers), list(found.search)) == (nameservers, search)
