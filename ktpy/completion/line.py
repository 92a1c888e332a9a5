"""What a command line asks for at its end. Pure: the commands are known by their grammar (`ktpy.cli.grammar`)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

NOTHING = ""
"""The kind of values of which nothing is known."""
Grammar = dict[str, Any]
"""A command, or an option or argument of one, as JSON.

A command has `help`, its `commands` by their names, `options` and `arguments`. Each of these has `name`, `flags` (of an
argument none), `env` (or null), `help`, `repeats`, and what `completes` it: null where it takes no value, the list of
all values, or a kind of names.
"""


class Wanted(NamedTuple):
    """A Wanted is what a line asks for at its end."""

    completes: str | Mapping[str, str]
    """A kind of names, or all that may stand there with the help of each."""
    typed: str
    """What of it stands there already."""
    given: Mapping[str, str] = {}
    """The values of options and arguments before it, by their names, and of options from the environment."""
    path: tuple[str, ...] = ()
    """The names of the command, and of the group it is in."""


def wanted(grammar: Grammar, words: Sequence[str], typed: str, environment: Mapping[str, str]) -> Wanted:
    """Return what the line asks for: `words` follow the program's name, and `typed` is what there is of the last."""
    line = _Line(grammar)
    for word in words:
        if not line.read(word):
            return Wanted(NOTHING, typed)
    for option in line.command["options"]:
        if option["name"] not in line.given and environment.get(option["env"] or ""):
            line.given[option["name"]] = environment[option["env"]]
    completes, typed = line.end(typed)
    completes = dict.fromkeys(completes, "") if isinstance(completes, list) else completes
    return Wanted(completes, typed, line.given, line.path)


class _Line:
    """A _Line is read word by word."""

    def __init__(self, command: Grammar) -> None:
        self._begin(command)

    def _begin(self, command: Grammar, path: tuple[str, ...] = ()) -> None:
        self.command, self.path = command, path
        self.given: dict[str, str] = {}
        self._used: set[str] = set()
        self._arguments: list[Grammar] = [*command["arguments"]]
        self._pending: Grammar | None = None
        """The option whose value comes next."""

    def read(self, word: str) -> bool:
        """Read a word. Return whether what follows is understood."""
        if self._pending is not None:
            self.given[self._pending["name"]], self._pending = word, None
        elif word == "--":
            return False  # a command of the user's own follows
        elif word.startswith("-") and word != "-":
            self._read_option(word)
        elif self.command["commands"]:
            if (command := self.command["commands"].get(word)) is None:
                return False
            self._begin(command, (*self.path, word))
        elif self._arguments:
            self.given[self._arguments[0]["name"]] = word
            self._arguments = self._arguments if self._arguments[0]["repeats"] else self._arguments[1:]
        return True

    def end(self, typed: str) -> tuple[Any, str]:
        """Return what completes the last word, and what is typed of it."""
        if self._pending is not None:
            return self._pending["completes"], typed
        if typed.startswith("-"):
            flag, is_value, value = typed.partition("=")
            if is_value:
                return (self._option(flag) or {}).get("completes") or NOTHING, value
            left = [one for one in self.command["options"] if one["repeats"] or one["name"] not in self._used]
            return {flag: one["help"] for one in left for flag in one["flags"]}, typed
        if commands := self.command["commands"]:
            return {name: one["help"] for name, one in commands.items()}, typed
        return self._arguments[0]["completes"] if self._arguments else NOTHING, typed

    def _read_option(self, word: str) -> None:
        flag, is_value, value = word.partition("=") if word.startswith("--") else (word[:2], word[2:], word[2:])
        if (option := self._option(flag)) is not None:
            self._used.add(option["name"])
            if option["completes"] is not None and is_value:
                self.given[option["name"]] = value
            elif option["completes"] is not None:
                self._pending = option

    def _option(self, flag: str) -> Grammar | None:
        return next((one for one in self.command["options"] if flag in one["flags"]), None)
