"""README.md and docs/ do what they say: what a reader is to type is typed in the lab, and prints what is shown.

How a document is read: tests/kit/documents.py. Commands that stand in a sentence or a table there are typed in
the pages of inline_commands/. A block that nobody runs is a test that is skipped, with the reason.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.kit.target_service import as_before
from tests.e2e.kit.terminals import Reader
from tests.kit.documents import Block, Section, sections
from tests.lab import Lab
from tests.lab.layout import REPOSITORY

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

PAGES = (
    REPOSITORY / "README.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *sorted((REPOSITORY / "tests/e2e/inline_commands").glob("*.md")),
)


def _sections() -> Iterator[Any]:
    for page in PAGES:
        for section in sections(page.read_text()):
            if not all(block.reason for block in section.blocks):
                yield pytest.param(section, id=f"{page.stem}: {section.title}")


def _not_run() -> Iterator[Any]:
    for page in PAGES:
        for section in sections(page.read_text()):
            for block in section.blocks:
                if block.reason:
                    yield pytest.param(block, id=f"{page.stem}: {section.title}")


@pytest.mark.parametrize("section", list(_sections()))
def test_commands_print_what_is_shown(lab: Lab, section: Section) -> None:
    run = [block for block in section.blocks if not block.reason]
    with as_before(lab, "web"), as_before(lab, "catalog"):
        reader = Reader(lab, section)
        for block in run:
            reader.read(block)


@pytest.mark.parametrize("block", list(_not_run()))
def test_commands_that_are_not_run(block: Block) -> None:
    pytest.skip(f"not run: {block.reason}: {'; '.join(one.text for one in block.commands)}")
