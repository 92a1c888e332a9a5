"""Another build of ktpy, from this repository's history."""

import subprocess
from pathlib import Path

import pytest

from tests.bench.against import build_of
from tests.bench.errors import BenchError
from tests.lab.layout import REPOSITORY

CODE = "import ktpy, asyncssh; print(ktpy.__file__)"


def test_a_build_is_that_revisions_with_these_packages() -> None:
    with build_of("HEAD") as (*python, _, _):
        command = [*python, "-c", CODE]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        checkout = Path(python[0]).parents[2]
        assert Path(done.stdout.strip()) == checkout / "ktpy/__init__.py"
    assert not checkout.exists()


@pytest.mark.parametrize("revision", ["no-such-revision", "--help"])
def test_no_such_revision_is_told(revision: str) -> None:
    with pytest.raises(BenchError), build_of(revision):
        pass
