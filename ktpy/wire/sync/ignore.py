"""Which paths of a folder are left out: .gitignore, and .ktpyignore after it, as git reads them. Pure.

What matches is ignored whether or not git tracks it, as in `git check-ignore --no-index`. `dir.c` of git 2.39 is the
source; tests compare with git itself.
"""

from typing import Final, NamedTuple

from ktpy.wire.sync.wildmatch import wildcard_at, wildmatch

RULE_FILES: Final = (b".gitignore", b".ktpyignore")
"""In each folder, in the order in which they are read: of several patterns that match, the last decides."""
ALWAYS: Final = (b".git", b"git~1")
"""Never leaves its side: what is in there runs on git's next command. In any case of letters; FAT shortens it so."""
OWN_PREFIX: Final = b".ktpy-sync."
"""Temporary files of the synchronization, and its mark, begin so."""
_UTF8_BOM: Final = b"\xef\xbb\xbf"


class Pattern(NamedTuple):
    text: bytes
    is_negative: bool
    is_for_folders: bool
    is_for_names: bool
    """It has no slash: it matches the last component alone, at any depth."""
    wildcard_at: int

    def matches(self, path: bytes, name: bytes, is_folder: bool) -> bool:
        """Tell whether it matches a path relative to the folder of its file, whose last component is `name`."""
        if self.is_for_folders and not is_folder:
            return False
        if not self.is_for_names:
            fixed = self.text[: self.wildcard_at]
            return path.startswith(fixed) and _rest_matches(self.text[self.wildcard_at :], path[len(fixed) :])
        if self.wildcard_at == len(self.text):
            return name == self.text
        if self.text[:1] == b"*" and wildcard_at(self.text[1:]) == len(self.text) - 1:
            return name.endswith(self.text[1:])
        return wildmatch(self.text, name, is_path=False)


def _rest_matches(pattern: bytes, path: bytes) -> bool:
    return wildmatch(pattern, path, is_path=True) if pattern else not path


def parse(content: bytes) -> tuple[Pattern, ...]:
    """Return the patterns of an ignore file, in its order."""
    lines = (line.removesuffix(b"\r") for line in content.removeprefix(_UTF8_BOM).split(b"\n"))
    found = (_pattern(_trimmed(line.split(b"\0")[0])) for line in lines if line[:1] != b"#")
    return tuple(one for one in found if one is not None)


def _trimmed(line: bytes) -> bytes:
    """Cut trailing spaces, but for one that is escaped."""
    at, end = 0, 0
    while at < len(line):
        if line[at] == ord("\\"):
            if at + 1 == len(line):
                return line
            at += 1
            end = at + 1
        elif line[at] != ord(" "):
            end = at + 1
        at += 1
    return line[:end]


def _pattern(line: bytes) -> Pattern | None:
    is_negative = line[:1] == b"!"
    text = line[is_negative:]
    is_for_folders = text[-1:] == b"/"
    if is_for_folders:
        text = text[:-1]
    is_for_names = b"/" not in text
    text = text.removeprefix(b"/")
    return Pattern(text, is_negative, is_for_folders, is_for_names, wildcard_at(text)) if line else None


class Rules:
    """Rules are the patterns of all ignore files that were found, by their folders.

    A folder that begins with "/" is one above: the rest says where the synchronized folder is below it. "/" itself is
    for patterns that are read before the folder's own files. What begins with "//" is read before all others.
    """

    def __init__(self) -> None:
        self._patterns: dict[bytes, tuple[Pattern, ...]] = {}
        self._outer: list[tuple[bytes, tuple[Pattern, ...]]] = []
        self._held: list[Rules] = []

    def hold(self) -> None:
        """Keep a copy of the rules as they are, for `holds`."""
        if all(one._patterns != self._patterns for one in self._held):  # noqa: SLF001
            copy = Rules()
            copy._patterns, copy._outer = dict(self._patterns), list(self._outer)
            self._held.append(copy)

    def holds(self, path: bytes, is_folder: bool) -> bool:
        """Tell whether rules that were held ignore a path, as `ignores` does."""
        return any(one.ignores(path, is_folder) for one in self._held)

    def set(self, folder: bytes, content: bytes) -> None:
        """Take the joined contents of a folder's ignore files; empty for none."""
        self._patterns.pop(folder, None)
        if content:
            self._patterns[folder] = parse(content)
        outer = sorted(
            (one for one in self._patterns if one.startswith(b"/")), key=lambda one: (one[:2] == b"//", len(one))
        )
        self._outer = [(one.lstrip(b"/"), self._patterns[one]) for one in outer]

    def ignores(self, path: bytes, is_folder: bool) -> bool:
        """Tell whether a path is ignored whose parent folders are not: who walks need not ask for each of them."""
        parent, _, name = path.rpartition(b"/")
        if name.lower() in ALWAYS or name.startswith(OWN_PREFIX):
            return True
        while True:
            if patterns := self._patterns.get(parent):
                relative = path[len(parent) + 1 :] if parent else path
                if (last := _last(patterns, relative, name, is_folder)) is not None:
                    return not last.is_negative
            if not parent:
                break
            parent = parent.rpartition(b"/")[0]
        for below, patterns in self._outer:
            relative = below + b"/" + path if below else path
            if (last := _last(patterns, relative, name, is_folder)) is not None:
                return not last.is_negative
        return False


def _last(patterns: tuple[Pattern, ...], path: bytes, name: bytes, is_folder: bool) -> Pattern | None:
    return next((one for one in reversed(patterns) if one.matches(path, name, is_folder)), None)
