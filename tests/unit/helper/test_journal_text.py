"""A head that is written is read again; damaged and foreign text is in test_journal.py."""

import json
from pathlib import Path

from ktpy.helper.journal_text import Head, parse

PATH = Path("ab12.json")


def test_a_head_is_read_as_it_was_written() -> None:
    head = Head("ab12", 1000, 7, 1.5, 99)
    assert parse(PATH, json.dumps(head.to_line()).encode() + b"\n").head == head
