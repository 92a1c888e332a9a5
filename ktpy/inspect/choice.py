"""Which of the requests somebody wants to see."""

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from http import HTTPMethod

from ktpy.frozen import dataclass
from ktpy.inspect.record import WatchedRequest

_METHOD = re.compile(r"[A-Za-z]{1,32}")
_STATUS = re.compile(r"[1-5][0-9]{2}|[1-5]xx", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Choice:
    """A Choice takes the requests that fit all that is said; of several methods, paths or statuses, any."""

    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return what `parse_words` reads."""
        return " ".join(filter(None, (",".join(self.methods), ",".join(self.statuses), *self.paths)))

    def takes(self, told: WatchedRequest) -> bool:
        status = str(told.status or "")
        return (
            (not self.methods or told.method.upper() in self.methods)
            and (not self.paths or any(_fits(told.path, path) for path in self.paths))
            and (not self.statuses or status in self.statuses or f"{status[:1]}xx" in self.statuses)
        )


def parse_words(text: str) -> Choice:
    """Read `GET,POST 5xx /api`: each word shows by its form what it chooses.

    Raises ValueError with a sentence for the user.
    """
    methods: list[str] = []
    paths: list[str] = []
    statuses: list[str] = []
    for word in text.split():
        if word.startswith(("/", "*")):
            paths.append(parse_path(word))
        elif word[0].isdecimal():
            statuses += parse_statuses(word)
        elif word.isupper() or all(one in HTTPMethod.__members__ for one in word.upper().split(",")):
            methods += parse_methods(word)
        else:
            raise ValueError(f"{word!r} is no method, status or path (wanted: such as GET,POST 5xx /api */items/*)")
    return Choice(tuple(methods), tuple(paths), tuple(statuses))


def parse_methods(text: str) -> tuple[str, ...]:
    """Read `GET,POST`. Raises ValueError with a sentence for the user."""
    return _each(text, _METHOD, "is no method (wanted: such as GET, or GET,POST)", str.upper)


def parse_statuses(text: str) -> tuple[str, ...]:
    """Read `404,5xx`. Raises ValueError with a sentence for the user."""
    return _each(text, _STATUS, "is no status (wanted: such as 404, 5xx, or 404,5xx)", str.lower)


def parse_path(text: str) -> str:
    """Read a path, or a pattern for one. Raises ValueError with a sentence for the user."""
    if not text.startswith(("/", "*")):
        raise ValueError(f"{text!r} is no path (wanted: such as /api, which takes all below it, or '*/items/*')")
    return text


def _each(text: str, shape: re.Pattern[str], refusal: str, fold: Callable[[str], str]) -> tuple[str, ...]:
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if not shape.fullmatch(word):
            raise ValueError(f"{word!r} {refusal}")
    return tuple(map(fold, words))


def _fits(path: str, wanted: str) -> bool:
    """Compare without the query: with a pattern of the shell, else as what the path begins with, part by part."""
    plain = path.partition("?")[0]
    if any(mark in wanted for mark in "*?["):
        return fnmatchcase(plain, wanted)
    return plain == wanted or plain.startswith(wanted.rstrip("/") + "/")
