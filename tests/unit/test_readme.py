"""README.md and docs/ say what is so: what they print of the code is the code's."""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from ktpy import errors
from ktpy.cli.dev import dev
from ktpy.cli.gateway import gateway
from ktpy.cli.image import image
from ktpy.cli.main import cli
from ktpy.cluster import rbac
from ktpy.observe import events, status
from tests.kit.documents import sections
from tests.kit.inline_commands import PAGES, ROOT, Words, inline_commands, is_run_by, simple_commands

INLINE = tuple((ROOT / "tests/e2e/inline_commands").glob("*.md"))
TEXT = "\n".join(page.read_text() for page in PAGES)


def test_rights_are_those_of_the_code() -> None:
    section = TEXT.partition("<!-- rbac:begin -->\n")[2].partition("<!-- rbac:end -->")[0]
    [manifest] = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    assert manifest == rbac.manifest("shop", "alice")


@pytest.mark.parametrize("shape", [*filter(is_dataclass, vars(status).values()), *events._EVENTS.values()])
def test_every_key_of_json_is_listed(shape: type[Any]) -> None:
    listed = re.findall(r"`(\w+)`", (ROOT / "docs/json.md").read_text())
    keys = {field.name.rstrip("_") for field in fields(shape)}
    assert keys <= set(listed)


def test_every_option_is_listed() -> None:
    commands = [*cli.commands.values(), *gateway.commands.values(), *dev.commands.values(), *image.commands.values()]
    options = {option for command in commands for one in command.params for option in one.opts}
    assert {option for option in options if option.startswith("--") and option not in TEXT} == {
        "--all-namespaces",  # as -A
        "--verbose",  # as -v
    }


def test_every_exit_code_is_listed() -> None:
    section = TEXT.partition("## Exit codes\n")[2].partition("\n# ")[0]
    listed = {int(number) for number in re.findall(r"(?:: |, |\| )(\d+)(?=[ ,])", section)}
    codes = {
        error.exit_code
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.KtpyError)
    }
    assert codes <= listed


def _written_commands() -> Iterator[tuple[str, str]]:
    """Yield each command line of ktpy that the documents show, and where."""
    for path in PAGES:
        for line in re.findall(r"(?:`|^\$ )(?:sudo )?ktpy ([a-z][^`\n]*)", path.read_text(), re.MULTILINE):
            yield path.name, re.split(r" #| -- |;| && | \\?\| ", line)[0]


def test_commands_in_the_documents_are_ktpys() -> None:
    wrong = []
    for page, line in _written_commands():
        words = line.split()
        command: click.Command | None = cli.commands.get(words[0])
        if isinstance(command, click.Group) and len(words) > 1:
            command = command.commands.get(words[1])
        known = {option for one in command.params for option in one.opts} if command else set()
        asked = {word.strip("[]").partition("=")[0] for word in words if re.match(r"\[?--?[a-z]", word)}
        if command is None or not asked <= {*known, "--help", "-h"}:
            wrong.append((page, line))
    assert not wrong


def _inline() -> dict[Words, list[str]]:
    """Return the command lines in sentences and tables of the documents, and where each stands."""
    found: dict[Words, list[str]] = {}
    for page in PAGES:
        for one in inline_commands(page.read_text()):
            found.setdefault(one.words, []).append(f"{page.relative_to(ROOT)}:{one}")
    return found


def _typed(*pages: Path, is_run: bool) -> Iterator[Words]:
    """Yield the commands in those blocks of the pages that are run, or that are not."""
    for page in pages:
        for section in sections(page.read_text()):
            for block in section.blocks:
                for one in block.commands if is_run != bool(block.reason) else ():
                    yield from simple_commands(one.text)


def test_every_command_line_in_a_sentence_or_a_table_is_run() -> None:
    run, not_run = (set(_typed(*PAGES, *INLINE, is_run=is_run)) for is_run in (True, False))
    forgotten = [
        place
        for words, places in _inline().items()
        for place in places
        if not any(is_run_by(words, one) for one in run) and not any(is_run_by(one, words) for one in not_run)
    ]
    assert forgotten == []


def test_each_command_that_is_said_not_to_be_run_stands_somewhere_and_is_run_nowhere() -> None:
    written, run = _inline(), set(_typed(*PAGES, *INLINE, is_run=True))
    for one in _typed(*INLINE, is_run=False):
        assert any(is_run_by(one, words) for words in written), one
        assert not any(is_run_by(one, words) for words in run), one


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target, heading in re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]*))?\)", page.read_text()):
            found = page.parent / target if target else page
            assert found.exists(), (page.name, target)
            headings = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE) if heading else []
            anchors = {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}
            assert not heading or heading in anchors, (page.name, target, heading)
