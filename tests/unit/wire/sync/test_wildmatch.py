import pytest

from ktpy.wire.sync.wildmatch import wildcard_at, wildmatch


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        (b"foo", b"foo", True),
        (b"f*o", b"f/o", False),
        (b"**/foo", b"a/b/foo", True),
        (b"**/foo", b"foo", True),
        (b"a/**/b", b"a/b", True),
        (b"a**/b", b"ax/y/b", False),
        (b"a/*", b"a/b/c", False),
        (b"a/**", b"a/b/c", True),
        (b"[[:digit:]]x", b"7x", True),
        (b"[!a-c]", b"b", False),
        (b"[]-]", b"]", True),
        (b"[a", b"a", False),
        (b"\\*", b"*", True),
        (b"?", b"/", False),
    ],
)
def test_a_path_matches_as_in_git(pattern: bytes, text: bytes, matches: bool) -> None:
    assert wildmatch(pattern, text, is_path=True) is matches


def test_in_a_name_a_star_matches_anything() -> None:
    assert wildmatch(b"a*c", b"a/b/c", is_path=False)


def test_the_first_wildcard_is_found() -> None:
    assert [wildcard_at(one) for one in (b"abc", b"a*", b"\\a", b"")] == [3, 1, 0, 0]
