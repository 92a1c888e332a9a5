"""The files with defaults of options: `~/.config/ktpy/config.toml`, and the nearest `.ktpy.toml` of a project.

A project's is looked for from the working directory upward, to the home or the root. No file is read that another user
owns, or that everybody may write: who stands in a folder that others write to, such as /tmp, obeys his own alone.
"""

import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Final

from ktpy.errors import UsageError
from ktpy.frozen import dataclass

PROJECT: Final = ".ktpy.toml"
_TABLE: Final = re.compile(r"\s*\[([^\[\]]+)\]")
_KEY: Final = re.compile(r"\s*([\w.\"'-]+)\s*=")
_PLACE: Final = re.compile(r"(.*) \(at line (\d+), column (\d+)\)")


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """A SettingsFile is one that is there."""

    path: Path
    table: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    refusal: str | None = None
    """Why it is not read, as a sentence."""

    @property
    def is_of_project(self) -> bool:
        return self.path.name == PROJECT

    def place(self, *keys: str) -> str:
        """Return the name of the file, with the line of this key where it stands on one of its own."""
        table: list[str] = []
        for number, line in enumerate(self.text.splitlines(), 1):
            if found := _TABLE.match(line):
                table = _parts(found[1])
                if tuple(table) == keys:
                    return f"{self.path}:{number}"
            elif (found := _KEY.match(line)) and (*table, *_parts(found[1])) == keys:
                return f"{self.path}:{number}"
        return str(self.path)


def found(tell: Callable[[UsageError], None] | None = None) -> list[SettingsFile]:
    """Return the files that there are, the project's first, whose settings win. Raises UsageError with line and column
    for what is no TOML; with `tell`, that is told, and the file left out."""
    files = []
    for path in (*_upward(Path("~").expanduser()), users()):
        try:
            files.append(_read(path))
        except UsageError as error:
            if tell is None:
                raise
            tell(error)
    return [one for one in files if one is not None]


def users() -> Path:
    """Return the user's file, which need not be there."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()) / "ktpy/config.toml"


def remember(key: str, value: str | None) -> bool:
    """Set a key of the top of the user's file, or remove it where there is no value; the rest stays as it is written.

    Returns whether the file says anything else than before. Raises UsageError where it cannot be changed.
    """
    file = _read(users()) or SettingsFile(users())
    table = {name: one for name, one in file.table.items() if name != key} | ({} if value is None else {key: value})
    if file.refusal is None and table == file.table:
        return False
    lines = file.text.splitlines(keepends=True)
    top = next((number for number, line in enumerate(lines) if _TABLE.match(line)), len(lines))
    of_key = [n for n, line in enumerate(lines[:top]) if (at := _KEY.match(line)) and _parts(at[1]) == [key]]
    place = slice(of_key[0], of_key[0] + 1) if of_key else slice(0, 0)
    lines[place] = [] if value is None else [f"{key} = {json.dumps(value)}\n"]
    text = "".join(lines)
    import tomllib

    try:
        why = file.refusal or (
            "" if tomllib.loads(text) == table else "It is written in a way that ktpy does not know."
        )
        if not why:
            _replace(file.path, text)
    except (OSError, ValueError) as error:
        why = f"{getattr(error, 'strerror', None) or error}."
    if why:
        raise UsageError(f"{key} cannot be remembered in {file.path}: {why}", hint=f"--{key} says it each time.")
    return True


def _replace(path: Path, text: str) -> None:
    target = path.resolve()  # it may be a link into a folder of such files
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        partial.write_text(text)
        if target.exists():
            partial.chmod(stat.S_IMODE(target.stat().st_mode))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _upward(home: Path) -> Iterator[Path]:
    """Yield the nearest project's file, if there is one, and on the way to it those that are refused."""
    try:
        folder = Path.cwd()
    except OSError:  # it was removed
        return
    for one in (folder, *folder.parents):
        if os.path.lexists(path := one / PROJECT):
            yield path
            if _refusal(path.lstat()) is None:
                return
        if one == home:
            return


def _read(path: Path) -> SettingsFile | None:
    try:
        with open(path, opener=_open) as file:
            refusal = _refusal(path.lstat()) or _refusal(os.fstat(file.fileno()))
            text = "" if refusal else file.read()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        return SettingsFile(path, refusal=f"It cannot be read: {getattr(error, 'strerror', None) or error}.")
    if refusal:
        return SettingsFile(path, refusal=refusal)
    import tomllib  # not before there is such a file

    try:
        return SettingsFile(path, tomllib.loads(text), text)
    except tomllib.TOMLDecodeError as error:
        told = _PLACE.fullmatch(str(error))
        sentence = f"{path}:{told[2]}:{told[3]}: {told[1]}." if told else f"{path}: {error}."
        raise UsageError(sentence) from None
    except RecursionError:
        raise UsageError(f"{path} is nested too deeply.") from None


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a FIFO of somebody else's is not waited for


def _refusal(status: os.stat_result) -> str | None:
    if status.st_uid != os.geteuid():
        return f"It is not this user's, but of user id {status.st_uid}."
    if stat.S_ISLNK(status.st_mode):
        return None  # its target is looked at as well
    if not stat.S_ISREG(status.st_mode):
        return "It is no file."
    return "Everybody may write to it." if status.st_mode & stat.S_IWOTH else None


def _parts(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in dotted.split(".")]
