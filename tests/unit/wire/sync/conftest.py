import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ktpy.wire.sync.folder import Folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def folder(root: Path) -> Iterator[Folder]:
    opened = Folder(os.fsencode(root))
    yield opened
    opened.close()
