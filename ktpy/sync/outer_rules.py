"""The ignore rules that a folder has from where it is: the files of its repository above it, and info/exclude."""

import os
from collections.abc import Sequence
from pathlib import Path

from ktpy.wire.sync.ignore import RULE_FILES


def outer_rules(folder: Path, lines: Sequence[str] = ()) -> dict[bytes, bytes]:
    """Return them, with the keys of `Rules`; `lines` are read before the folder's own."""
    rules = {b"/": os.fsencode("\n".join(lines))} if lines else {}
    folder = folder.resolve()
    root = next((one for one in (folder, *folder.parents) if (one / ".git").exists()), None)
    if root is None:
        return rules
    for above in folder.parents:
        if not above.is_relative_to(root):
            break
        content = b"\n".join(_content(above / os.fsdecode(name)) for name in RULE_FILES)
        if content.strip():
            rules[b"/" + os.fsencode(folder.relative_to(above))] = content
    if excluded := _content(root / ".git" / "info" / "exclude"):
        rules[b"//" + (b"" if root == folder else os.fsencode(folder.relative_to(root)))] = excluded
    return rules


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""
