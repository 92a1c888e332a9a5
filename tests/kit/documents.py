"""What README.md and docs/ tell a reader to type, and what they show of it: read from their text, compared in shape.

| in a document | is |
|---|---|
| a block `console` | a terminal: lines that begin with `$ ` are typed, and print what stands below, if anything |
| a block `sh` | a terminal: each line is typed |
| a command with `# in another terminal` | the one before it goes on; so does what is shown to end by Ctrl-C |
| another block, whose first line is `# NAME.EXT` | that file, in the folder where the section's commands are typed |
| `<!-- run: LINES -->` before a block | what is typed first: the text tells of it, or a reader has it |
| `<!-- not run: REASON -->` before a block | nobody runs it, and why |

A line is as shown when its words are, with other numbers, times, addresses, identifiers, ends of pods' names, folders
of a home, and widths of columns. A line `...` is any lines, or none, and within a line any words; steps of ktpy's,
which end with their time, may come between, as a slow machine has more of them told. Where `error: ` is shown the
command fails, else not.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

_ANY = "..."
_FENCE = re.compile(r"```(\w*)$")
_PROMPT = "$ "
_DIRECTIVE = re.compile(r"<!-- (run|not run): (.*?)\s*-->$", re.DOTALL)
_FILE = re.compile(r"# ([\w./-]+\.\w+)$")
_ELSEWHERE = re.compile(r"#.*in another terminal")
_STAYS = "Ctrl-C ends it"
_STEP = re.compile(r"  \w+ +.* \(\d+\.\d\d s\)$")
_VARYING = {
    r"\.\.\.": r".*",
    r"(?<=-)[0-9a-z]{8,10}-[0-9a-z]{5}\b": r"[0-9a-z]{8,10}-[0-9a-z]{5}",  # ends of pods' names
    r"/home/[^\s:,]+": r"/home/[^\s:,]+",
    r"\d{4}-\d\d-\d\d": r"\d{4}-\d\d-\d\d",
    r"\d\d:\d\d(?::\d\d(?:\.\d+)?)?Z?": r"\d\d:\d\d(?::\d\d(?:\.\d+)?)?Z?",
    r"\d+(?:\.\d+){3}": r"\d+(?:\.\d+){3}",
    r"[0-9a-f]{1,4}(?::[0-9a-f]{0,4}){2,7}": r"[0-9a-f]{1,4}(?::[0-9a-f]{0,4}){2,7}",
    r"[\w-]{40,}": r"[\w-]{40,}",  # tokens
    r"\b(?=[a-f]*\d)[0-9a-f]{8,}\b": r"[0-9a-f]{8,}",
    r"\d+(?:[.,]\d+)* (?:ms|s|B|KB|MB|GB)\b": r"\d+(?:[.,]\d+)* (?:ms|s|B|KB|MB|GB)",
    r"\d+(?:[.,]\d+)*": r"\d+(?:[.,]\d+)*",
    r"\s+": r"\s+",
}
_PIECES = re.compile("|".join(f"({found})" for found in _VARYING))


@dataclass(frozen=True, slots=True)
class Command:
    """What is typed, and what the document shows of its output; `stays` while others are typed elsewhere."""

    line: int
    text: str
    shown: tuple[str, ...] = ()
    stays: bool = False

    @property
    def fails(self) -> bool:
        return any(line.startswith("error: ") for line in self.shown)


@dataclass(slots=True)
class Block:
    """A terminal of its own."""

    line: int
    commands: list[Command]
    first: str = ""
    """What is to be run before it."""
    reason: str = ""
    """Why it is not run."""


@dataclass(slots=True)
class Section:
    """What stands below one heading: files, and terminals in their order."""

    title: str
    files: dict[str, str] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)


class Malformed(Exception):
    """A document has a command that would not be run, or a directive that has no effect."""


def sections(text: str) -> list[Section]:
    """Those of a document that have commands. Raises Malformed."""
    found = [Section("")]
    lines = iter(enumerate(text.splitlines(), 1))
    directives: dict[str, str] = {}
    for number, line in lines:
        if line.startswith("<!-- "):
            while not line.endswith("-->"):
                line += "\n" + next(lines)[1]
            if directive := _DIRECTIVE.match(line):
                directives[directive[1]] = directive[2]
        elif fence := _FENCE.match(line):
            _add(found[-1], fence[1], number, _fenced(lines), directives)
            directives = {}
        elif directives and line:
            raise Malformed(f"line {number}: a directive stands before a fenced block")
        elif line.startswith("#"):
            found.append(Section(line.lstrip("# ")))
        elif line.startswith("    $ "):
            raise Malformed(f"line {number}: commands stand in a fenced block `console`")
    return [section for section in found if section.blocks]


def _fenced(lines: Iterator[tuple[int, str]]) -> list[str]:
    content: list[str] = []
    for _, line in lines:
        if line == "```":
            return content
        content.append(line)
    raise Malformed("a fence is not closed")


def _add(section: Section, language: str, number: int, content: list[str], directives: dict[str, str]) -> None:
    if language in ("console", "sh"):
        commands = list(_typed(content, number + 1) if language == "console" else _script(content, number + 1))
        section.blocks.append(Block(number, commands, directives.get("run", ""), directives.get("not run", "")))
    elif directives or any(line.startswith(_PROMPT) for line in content):
        raise Malformed(f"line {number}: a block with commands is `console` or `sh`")
    elif content and (name := _FILE.match(content[0])):
        section.files[name[1]] = "\n".join(content) + "\n"


def _script(content: list[str], first: int) -> Iterator[Command]:
    for number, line in enumerate(content, first):
        if line and not line.startswith("#") and not line.startswith(" "):
            yield Command(number, line)


def _typed(content: list[str], first: int) -> Iterator[Command]:
    starts = [index for index, line in enumerate(content) if line.startswith(_PROMPT)]
    if not starts or starts[0]:
        raise Malformed(f"line {first}: a `console` begins with `$ `")
    for start, end in pairwise([*starts, len(content)]):
        text = content[start].removeprefix(_PROMPT)
        shown = [line.rstrip() for line in content[start + 1 : end]]
        while shown and not shown[-1]:
            shown.pop()
        following = content[end] if end < len(content) else ""
        stays = any(_STAYS in line for line in shown) or bool(_ELSEWHERE.search(following))
        if stays and not shown:
            raise Malformed(f"line {first + start}: what goes on beside others shows when it is ready")
        yield Command(first + start, text, tuple(shown), stays)


def pattern(line: str) -> str:
    """A regular expression for what may stand in the place of a line that a document shows."""
    made, end = [], 0
    for found in _PIECES.finditer(line):
        made.append(re.escape(line[end : found.start()]))
        made.append(list(_VARYING.values())[(found.lastindex or 1) - 1])
        end = found.end()
    return "".join(made) + re.escape(line[end:])


def missing(shown: Sequence[str], printed: Sequence[str], *, is_over: bool = True) -> str | None:
    """The first line that is shown and was not printed, or where more was printed, that; None when it is as shown.

    What is not over may print more.
    """
    furthest = 0
    pending = [(0, 0)]
    seen = set()
    while pending:
        at = pending.pop()
        if at in seen:
            continue
        seen.add(at)
        want, have = at
        furthest = max(furthest, want)
        if have < len(printed) and _STEP.match(printed[have]):
            pending.append((want, have + 1))
        if want == len(shown):
            if have == len(printed) or not is_over:
                return None
        elif shown[want].strip() == _ANY:
            pending += [(want + 1, later) for later in range(len(printed), have - 1, -1)]
        elif have < len(printed) and re.fullmatch(pattern(shown[want]), printed[have].rstrip()):
            pending.append((want + 1, have + 1))
    return shown[furthest] if furthest < len(shown) else f"(more than that: {printed[-1]})"
