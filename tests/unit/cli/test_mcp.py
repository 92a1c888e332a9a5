"""What `ktpy mcp` makes of its options; the server itself: tests/component/mcp."""

import sys
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from ktpy.cli.main import cli
from ktpy.daemon.caller import Caller
from ktpy.mcp.tools import Tools


@pytest.fixture(autouse=True)
def caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Caller, "become", lambda: None)


@pytest.mark.parametrize(("words", "allows"), [([], False), (["--allow-changes"], True)])
def test_its_tools_are_for_one_cluster(words: list[str], allows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Any] = []

    def serve(tools: Tools, *, allow_changes: bool) -> None:
        served.append((tools._place, allow_changes))

    server = ModuleType("ktpy.mcp.server")
    server.serve = serve  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ktpy.mcp.server", server)
    done = CliRunner().invoke(cli, ["mcp", "--context", "lab", "-n", "shop", *words])
    assert (done.exit_code, done.output) == (0, "")
    assert served == [({"kubeconfig": None, "context": "lab", "namespace": "shop"}, allows)]


def test_a_library_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ktpy.mcp.server", raising=False)
    monkeypatch.setitem(sys.modules, "mcp.server", None)
    monkeypatch.setitem(sys.modules, "mcp", None)
    done = CliRunner().invoke(cli, ["mcp"])
    assert done.exit_code == 73
    assert "ktpy mcp needs the library mcp, which is not installed" in done.output
    assert "pip install 'ktpy[mcp]'" in done.output
