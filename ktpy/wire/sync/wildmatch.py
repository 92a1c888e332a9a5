"""git's wildmatch.c (2.39) in Python: patterns of .gitignore match as they do there, whatever their form. Pure."""

from typing import Final

_MATCH: Final = 0
_NO_MATCH: Final = 1
_ABORT_ALL: Final = -1
_ABORT_TO_STARSTAR: Final = -2
_STAR, _SLASH, _BACKSLASH, _OPEN, _CLOSE = b"*/\\[]"
_SPECIAL: Final = frozenset(b"*?[\\")
_CLASSES: Final = {
    b"alnum": frozenset(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    b"alpha": frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    b"blank": frozenset(b" \t"),
    b"cntrl": frozenset([*range(32), 127]),
    b"digit": frozenset(b"0123456789"),
    b"graph": frozenset(range(33, 127)),
    b"lower": frozenset(b"abcdefghijklmnopqrstuvwxyz"),
    b"print": frozenset(range(32, 127)),
    b"punct": frozenset(b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    b"space": frozenset(b" \t\n\r"),  # git's own isspace
    b"upper": frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    b"xdigit": frozenset(b"0123456789abcdefABCDEF"),
}


def wildmatch(pattern: bytes, text: bytes, *, is_path: bool) -> bool:
    """Tell whether the pattern matches the whole text. In a path, `*` and `?` match no slash (WM_PATHNAME)."""
    return _match(pattern + b"\0", 0, text + b"\0", 0, is_path) == _MATCH


def wildcard_at(pattern: bytes) -> int:
    """Return where the first wildcard or escape is; the length where there is none (simple_length of dir.c)."""
    return next((at for at, char in enumerate(pattern) if char in _SPECIAL), len(pattern))


def _match(pattern: bytes, p: int, text: bytes, t: int, is_path: bool) -> int:  # noqa: C901 - as dowild is
    """Match from `p` and `t` on; both end in a NUL."""
    start = p
    while char := pattern[p]:
        if not text[t] and char != _STAR:
            return _ABORT_ALL
        if char == _STAR:
            stars = p
            while pattern[p] == _STAR:
                p += 1
            matches_slash = not is_path
            if is_path and p - stars > 1 and (stars == start or pattern[stars - 1] == _SLASH):
                if pattern[p] == _SLASH and _match(pattern, p + 1, text, t, is_path) == _MATCH:
                    return _MATCH
                matches_slash = pattern[p] in (0, _SLASH) or pattern[p : p + 2] == b"\\/"
            if not pattern[p]:
                return _NO_MATCH if not matches_slash and text.find(b"/", t) >= 0 else _MATCH
            if matches_slash or pattern[p] != _SLASH:
                return _match_star(pattern, p, text, t, is_path, matches_slash)
            t = text.find(b"/", t)  # one star and a slash: the next folder
            if t < 0:
                return _NO_MATCH
        elif char == _OPEN:
            p, matched = _match_set(pattern, p + 1, text[t])
            if p < 0:
                return _ABORT_ALL
            if not matched or (is_path and text[t] == _SLASH):
                return _NO_MATCH
        elif char == ord("?"):
            if is_path and text[t] == _SLASH:
                return _NO_MATCH
        else:
            if char == _BACKSLASH:
                p += 1
            if text[t] != pattern[p]:
                return _NO_MATCH
        p += 1
        t += 1
    return _NO_MATCH if text[t] else _MATCH


def _match_star(pattern: bytes, p: int, text: bytes, t: int, is_path: bool, matches_slash: bool) -> int:
    """Match what follows a star at each place that the star can reach."""
    while text[t]:
        if pattern[p] not in _SPECIAL:
            while text[t] and text[t] != pattern[p] and (matches_slash or text[t] != _SLASH):
                t += 1
            if text[t] != pattern[p]:
                return _NO_MATCH
        matched = _match(pattern, p, text, t, is_path)
        if matched != _NO_MATCH:
            if not matches_slash or matched != _ABORT_TO_STARSTAR:
                return matched
        elif not matches_slash and text[t] == _SLASH:
            return _ABORT_TO_STARSTAR
        t += 1
    return _ABORT_ALL


def _match_set(pattern: bytes, p: int, char: int) -> tuple[int, bool]:  # noqa: C901 - as dowild is
    """Return where the set of characters that begins at `p` closes, and whether it has `char`; -1 if it never does."""
    negated = pattern[p] in b"!^"
    if negated:
        p += 1
    previous, matched, first = 0, False, True
    while first or pattern[p] != _CLOSE:
        first = False
        current = pattern[p]
        if not current:
            return -1, False
        if current == _BACKSLASH:
            p += 1
            current = pattern[p]
            if not current:
                return -1, False
            matched |= char == current
        elif current == ord("-") and previous and pattern[p + 1] not in (0, _CLOSE):
            p += 1
            if pattern[p] == _BACKSLASH:
                p += 1
            if not pattern[p]:
                return -1, False
            matched |= previous <= char <= pattern[p]
            current = 0
        elif current == _OPEN and pattern[p + 1] == ord(":"):
            close = pattern.find(b"]", p + 2)
            if close < 0:
                return -1, False
            if close - p - 3 < 0 or pattern[close - 1] != ord(":"):  # no class: a bracket like any character
                matched |= char == _OPEN
            elif (members := _CLASSES.get(pattern[p + 2 : close - 1])) is None:
                return -1, False
            else:
                matched |= char in members
                p, current = close, 0
        else:
            matched |= char == current
        previous = current
        p += 1
    return p, matched != negated
