r"""Command lines that README.md and docs/ have in a sentence or a table, and which of those that are run is each.

| in a document | is |
|---|---|
| `ktpy VERB ...`, `scripts/NAME ...`, and several words with one of `_OTHERS` first | a command line |
| several words with a verb first: `dev logs web` | the same with `ktpy` |
| several words with a bench first, and its rows: `connect --rows first-byte` | the same with `scripts/bench` |
| `[--option]` | two lines: without any of these, and with all |
| `bash\|zsh` | a line for each |
| `NAME`, `REGISTRY/NAME` | any word in that place |
| `COMMAND`, `...` at the end | any words |
| `first; second` | both |

What can be typed as it stands is run where a command that is run has the same words, or the same with `-n shop` or
`--detach` besides. What lacks something (`ktpy dev run`, `ktpy rbac --dev`) names a command and
its options: it is run where any run of that command has those options.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

import click

from ktpy.cli.main import cli

Words = tuple[str, ...]

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_OTHERS = ("apt", "curl", "docker", "kubectl", "mkdir", "pip", "pipx", "podman", "touch", "uv", "wireshark")
_BESIDE = (("-n", "shop"), ("--detach",))
_WANT_MORE = {
    ("ktpy", "forward"): ("--all", "NAME"),
    ("ktpy", "leave"): ("--all", "NAME"),
    ("ktpy", "run"): ("--", "--print-only"),
    ("ktpy", "dev", "config"): ("--schema", "NAME"),
}
"""Commands that need one of these options, or a name where that is among them, which their grammar does not say."""
_NOT_PROSE = re.compile(r"^```.*?^```$|^<!--.*?-->$", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_OPENS = re.compile(r"(?<=\s)\[")
_CLOSES = re.compile(r"\](?=[\s\]]|$)")
_LEFT_OUT = re.compile(r"\s\[[^\[\]]*\]")
_SEVERAL = re.compile(r"(?<=\s)[a-z]+(?:\|[a-z]+)+(?=\s|$)")
_PLACEHOLDER = re.compile(r"[A-Z]{3,}")
_REST = ("...", "COMMAND", "PROGRAM")
_ENDS = re.compile(r"[;&|()]+")
_REDIRECTS = re.compile(r"[<>]+&?")
_VARIABLE = re.compile(r"\w+=")


@dataclass(frozen=True, slots=True)
class Inline:
    """A command line in a sentence or a table, with the program before it where that was left out."""

    line: int
    words: Words

    def __str__(self) -> str:
        return f"{self.line}: {shlex.join(self.words)}"


def inline_commands(text: str) -> Iterator[Inline]:
    """Yield those of a document, its fenced blocks and comments left out."""
    prose = _NOT_PROSE.sub(lambda found: "\n" * found[0].count("\n"), text)
    for span in _SPAN.finditer(prose):
        line = prose.count("\n", 0, span.start()) + 1
        for written in _variants(" ".join(span[1].replace("\\|", "|").split())):
            for words in simple_commands(written):
                if whole := _with_program(words):
                    yield Inline(line, whole)


def given_to(script: str) -> Iterator[Words]:
    """Yield what README.md and docs/ give to a script of that name."""
    for page in PAGES:
        for one in inline_commands(page.read_text()):
            if one.words[0] == f"scripts/{script}":
                yield one.words[1:]


def _variants(span: str) -> list[str]:
    if _OPENS.search(span):
        least = span
        while (less := _LEFT_OUT.sub("", least)) != least:
            least = less
        return [*_variants(least), *_variants(_CLOSES.sub("", _OPENS.sub("", span)))]
    if several := _SEVERAL.search(span):
        return [span.replace(several[0], one) for one in several[0].split("|")]
    return [span]


def _with_program(words: Words) -> Words | None:
    """Return the whole command line, or None where it is none."""
    program, *more = words[words[0] == "sudo" :] or ("",)
    if "--rows" in more and "/" not in program:
        return ("scripts/bench", *words)
    if program in cli.commands and more:
        return ("ktpy", *words)
    return words if program.startswith("scripts/") or (more and program in ("ktpy", *_OTHERS)) else None


def simple_commands(line: str) -> list[Words]:
    """Return those of a line of a shell, without variables and redirections; and ktpy's inside `$(...)` and quotes."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|()<>")
    lexer.whitespace_split = True
    try:
        tokens = list(lexer)
    except ValueError:  # no command: it has an apostrophe
        return []
    found = []
    for is_end, group in groupby(tokens, lambda token: bool(_ENDS.fullmatch(token))):
        words: list[str] = []
        pending = iter(group)
        for token in () if is_end else pending:
            if _REDIRECTS.fullmatch(token):
                next(pending, None)
                if words[-1:] == ["2"]:  # standard error's
                    words.pop()
            elif words or not _VARIABLE.match(token):
                words.append(token)
                found += simple_commands(token) if "ktpy " in token else []
        if words and words != ["$"]:
            found.append(tuple(words))
    return found


def is_run_by(wanted: Words, run: Words) -> bool:
    """Return whether the command that is run is the one that a document has."""
    if is_whole(wanted):
        return any(_is_same(wanted, one) for one in _with_less(run))
    verb, rest = _parted(wanted)
    own, given = _parted(run)
    return own[: len(verb)] == verb and all(any(_is_same((word,), (one,)) for one in given) for word in rest)


def _with_less(run: Words) -> Iterator[Words]:
    """Yield it as it is, and without what may stand in it besides."""
    yield run
    for beside in _BESIDE:
        for start in range(len(run)):
            if run[start : start + len(beside)] == beside:
                yield from _with_less(run[:start] + run[start + len(beside) :])


def _is_same(wanted: Words, run: Words) -> bool:
    if wanted[-1:] and wanted[-1] in _REST:
        wanted = wanted[:-1]
        run = run[: len(wanted)]
    return len(wanted) == len(run) and all(map(_is_same_word, wanted, run))


def _is_same_word(wanted: str, run: str) -> bool:
    return re.fullmatch(".+".join(map(re.escape, _PLACEHOLDER.split(wanted))), run, re.DOTALL) is not None


@cache
def is_whole(words: Words) -> bool:
    """Return whether nothing that the command needs is missing. Other programs' commands count as whole."""
    if "ktpy" not in words[:2]:
        return True
    verb, given = _parted(words)
    command = _command(verb)
    if isinstance(command, click.Group):
        return False
    own = given[: given.index("--")] if "--" in given else given
    try:
        told, _, _ = command.make_parser(click.Context(command)).parse_args(list(own))
    except click.UsageError:  # an option without its value, or that there is not
        return False
    if more := _WANT_MORE.get(verb[verb.index("ktpy") :]):
        is_named = bool(given) and not given[0].startswith("-")
        return (is_named and "NAME" in more) or any(one in given for one in more)
    return all(isinstance(told.get(one.name), str | list | tuple) for one in command.params if one.required)


def _parted(words: Words) -> tuple[Words, Words]:
    """Return the command, with that of its group, and what is given to it."""
    if "ktpy" not in words[:2]:
        return words[:1], words[1:]
    length = words.index("ktpy") + 1
    group: click.Command = cli
    while isinstance(group, click.Group) and length < len(words) and words[length] in group.commands:
        group = group.commands[words[length]]
        length += 1
    return words[:length], words[length:]


def _command(verb: Words) -> click.Command:
    command: click.Command = cli
    for name in verb[verb.index("ktpy") + 1 :]:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    return command
