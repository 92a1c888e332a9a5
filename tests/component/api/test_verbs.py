"""Calls of the API that end by themselves, in real processes, and what type checkers say of a user's files."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ktpy
from tests.kit.listing_api import listing

PAGE = Path(__file__).parents[3] / "docs/python.md"
WRONG = """
import ktpy

async def main() -> None:
    async with ktpy.exchange("web", expose="1", hold="2") as session:
        print(session.status.forwards)
    await ktpy.run(["ls"], claims="live")
    ktpy.exchagne
"""


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "kubeconfig"


async def test_another_command(kubeconfig: Path) -> None:
    assert await ktpy.call("status") == {"schema": 1, "sessions": [], "ended": []}
    with listing({}, kubeconfig), pytest.raises(ktpy.errors.KtpyError) as failed:
        await ktpy.call("list", kubeconfig=kubeconfig)
    assert failed.value.exit_code > 2, failed.value
    with pytest.raises(ktpy.errors.KubeconfigMissing, match="There is no kubeconfig"):
        await ktpy.call("who", kubeconfig=kubeconfig.with_name("absent"))
    with pytest.raises(ktpy.errors.UsageError, match="No such command 'whom'"):
        await ktpy.call("whom")


async def test_a_session_that_cannot_begin(kubeconfig: Path) -> None:
    with pytest.raises(ktpy.errors.KubeconfigMissing, match="There is no kubeconfig"):
        await ktpy.exchange("web", expose="3001:80", kubeconfig=kubeconfig).__aenter__()
    with pytest.raises(ktpy.errors.UsageError, match="'three' is not LOCAL"):
        ktpy.mesh("web", expose="three").__enter__()


async def test_a_program_that_cannot_run(kubeconfig: Path) -> None:
    with pytest.raises(ktpy.errors.ProgramAbsent):
        await ktpy.run(["no-such-program"], mode="proxy", kubeconfig=kubeconfig)
    task = asyncio.create_task(ktpy.run(["cat"], mode="proxy", kubeconfig=kubeconfig, input="never read"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises((asyncio.CancelledError, ktpy.errors.KtpyError)):
        await task


def test_type_checkers_know_all_of_it(tmp_path: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        (tmp_path / block.partition("\n")[0].removeprefix("# ")).write_text(block)
    (tmp_path / "wrong.py").write_text(WRONG)
    command = [sys.executable, "-m", "mypy", "--strict", *map(str, sorted(tmp_path.glob("*.py")))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    complaints = re.findall(r"^([a-z_]+\.py):(\d+): error: .*\[(.*)\]$", done.stdout, re.MULTILINE)
    assert complaints == [
        ("wrong.py", "5", "call-arg"),
        ("wrong.py", "6", "attr-defined"),
        ("wrong.py", "7", "call-arg"),
        ("wrong.py", "8", "attr-defined"),
    ], done.stdout
