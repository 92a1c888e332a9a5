"""Answers what a shell asks about a line."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import ktpy
from ktpy.completion import cache
from ktpy.completion.line import Grammar, Wanted, wanted
from ktpy.completion.names import offered
from ktpy.completion.shells import Question

_GRAMMAR_FILE = "grammar.json"
_DEFAULTS_FILE = "defaults.json"
_MOST_DEFAULTS = 20


class Commands(Protocol):
    """The Commands take long to be loaded, so that what they say is kept."""

    def grammar(self) -> Grammar:
        """Return the grammar of ktpy."""

    def defaults(self, path: Sequence[str]) -> Mapping[str, str]:
        """Return what files say of the options of one command. Raises UsageError."""


def answer(load: Callable[[], Commands]) -> None:
    """Print the answers to the question in the environment."""
    with suppress(LookupError, ValueError):
        question = Question.asked(os.environ)
        try:
            lines = _lines(question, load)
        except (LookupError, TypeError, AttributeError):  # somebody has written something else into the files
            cache.forget(_GRAMMAR_FILE)
            cache.forget(_DEFAULTS_FILE)
            lines = _lines(question, load)
        sys.stdout.writelines(lines)


def _lines(question: Question, load: Callable[[], Commands]) -> list[str]:
    grammar = cache.kept(_GRAMMAR_FILE, _version(), lambda: load().grammar(), most=1)
    asked = wanted(grammar, question.words, question.typed, os.environ)
    return [f"{question.answer(*one)}\n" for one in _answers(asked, load)]


def _version() -> str:
    """Return what changes when a command of ktpy does: its version, and when its files were written last."""
    folder = os.path.join(os.path.dirname(ktpy.__file__), "cli")
    with os.scandir(folder) as files:
        written = sorted((file.name, file.stat().st_mtime_ns) for file in files if file.name.endswith(".py"))
    return f"{ktpy.__version__} {folder} {written}"


def _answers(asked: Wanted, load: Callable[[], Commands]) -> Iterator[tuple[str, str, str]]:
    """Yield the type, the value and the help of each answer."""
    if not isinstance(asked.completes, str):
        yield from (("plain", value, told) for value, told in asked.completes.items() if value.startswith(asked.typed))
    elif asked.completes in ("file", "dir"):
        yield asked.completes, asked.typed, ""
    elif asked.completes:
        for name in offered(asked.completes, asked.typed, {**_defaults(asked.path, load), **asked.given}):
            yield "open" if name.endswith("/") else "plain", name, ""


def _defaults(path: Sequence[str], load: Callable[[], Commands]) -> Mapping[str, str]:
    """Return what the user's files, and a project's, say of a command's options; nothing where they are wrong."""

    def read() -> Mapping[str, str]:
        with suppress(Exception):
            return load().defaults(path)
        return {}

    present = [stamp for stamp in cache.stamps(_files_with_defaults()) if not isinstance(stamp, str)]
    return cache.kept(_DEFAULTS_FILE, json.dumps([path, present]), read, most=_MOST_DEFAULTS) if present else {}


def _files_with_defaults() -> Iterator[str]:
    """Yield where there may be any, as `ktpy.daemon.settings` has it, which takes a Tab too long to load."""
    with suppress(OSError):  # the working directory was removed
        folder, home = os.getcwd(), os.path.expanduser("~")
        while True:
            yield os.path.join(folder, ".ktpy.toml")
            if folder in (home, os.path.dirname(folder)):
                break
            folder = os.path.dirname(folder)
    yield os.path.join(os.environ.get("XDG_CONFIG_HOME") or "~/.config", "ktpy/config.toml")
