"""Artifacts that are expensive to make, kept by the hash of what they are made of, never in the work tree."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.lab.layout import cache_root
from tests.lab.locks import locked

KEY_LENGTH = 16


def content_key(parts: Iterable[str | bytes]) -> str:
    """A short name for exactly these inputs; their boundaries count."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(f"{len(data)}:".encode())
        digest.update(data)
    return digest.hexdigest()[:KEY_LENGTH]


def artifact(kind: str, inputs: Iterable[str | bytes], make: Callable[[Path], None]) -> Path:
    """The directory of one artifact; `make` fills an empty one when the cache has none.

    It appears under its final name only when it is whole. What a killed build left is removed by the next.
    """
    root = cache_root()
    final = root / f"{kind}-{content_key(inputs)}"
    if final.is_dir():
        return final
    with locked(root / f".{final.name}.lock", waiting_for=f"another build of the same {kind}"):
        if final.is_dir():
            return final
        for leftover in root.glob(f".{final.name}-partial-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{final.name}-partial-", dir=root))
        try:
            make(partial)
            partial.chmod(0o755)
            partial.rename(final)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return final
