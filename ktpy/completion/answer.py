"""Answers what a shell asks about a line."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

import ktpy
from ktpy.completion import cache
from ktpy.completion.line import Grammar, Wanted, wanted
from ktpy.completion.names import offered
from ktpy.completion.shells import Question

GRAMMAR_FILE = "grammar.json"


def answer(make_grammar: Callable[[], Grammar]) -> None:
    """Print the answers to the question in the environment. `make_grammar`, which is slow, is called once a version."""
    with suppress(LookupError, ValueError):
        question = Question.asked(os.environ)
        for kind, value, told in _answers(_wanted(question, make_grammar)):
            sys.stdout.write(f"{question.answer(kind, value, told)}\n")


def _wanted(question: Question, make_grammar: Callable[[], Grammar]) -> Wanted:
    grammar = cache.kept(GRAMMAR_FILE, _sources(), make_grammar, most=1)
    try:
        return wanted(grammar, question.words, question.typed, os.environ)
    except (LookupError, TypeError, AttributeError):  # somebody has written something else into the file
        cache.forget(GRAMMAR_FILE)
        return wanted(make_grammar(), question.words, question.typed, os.environ)


def _sources() -> str:
    """Return what changes when a command of ktpy does: its version, and when its files were written last."""
    folder = os.path.join(os.path.dirname(ktpy.__file__), "cli")
    with os.scandir(folder) as files:
        written = sorted((file.name, file.stat().st_mtime_ns) for file in files if file.name.endswith(".py"))
    return f"{ktpy.__version__} {folder} {written}"


def _answers(asked: Wanted) -> Iterator[tuple[str, str, str]]:
    """Yield the type, the value and the help of each answer."""
    if not isinstance(asked.completes, str):
        yield from (("plain", value, told) for value, told in asked.completes.items() if value.startswith(asked.typed))
    elif asked.completes in ("file", "dir"):
        yield asked.completes, asked.typed, ""
    else:
        for name in offered(asked.completes, asked.typed, asked.given):
            yield "open" if name.endswith("/") else "plain", name, ""
