"""The tools of a coding agent, over an API that begins nothing; tests/component/mcp has real sessions."""

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from ktpy.api import verbs
from ktpy.api.session import Session
from ktpy.errors import KtpyError, UsageError
from ktpy.mcp.tools import CHANGES, OUTPUT_CHARACTERS, READS, Tools
from ktpy.observe.status import ConnectStatus

STATUS = ConnectStatus(
    kind="forward", pid=7, server="https://a", context="lab", namespace="shop", state="connected", uptime_s=1.0
)


@pytest.fixture
def did(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the tools did, in its order."""
    done: list[Any] = []

    async def call(*words: str, **options: object) -> dict[str, Any]:
        done.append((words, {key: value for key, value in options.items() if value}))
        return {"schema": 1}

    async def begin(session: Session[Any]) -> Session[Any]:
        done.append(("begin", *session._words))
        session._status = STATUS
        return session

    async def end(session: Session[Any], *_: object) -> None:
        done.append(("end", *session._words))
        if session._words[0] == "preview":
            raise KtpyError("It was not given back.")

    monkeypatch.setattr(verbs, "call", call)
    monkeypatch.setattr(Session, "__aenter__", begin)
    monkeypatch.setattr(Session, "__aexit__", end)
    return done


@pytest.fixture
def tools() -> Tools:
    return Tools({"kubeconfig": "/k", "context": None, "namespace": None})


async def test_where_they_look(tools: Tools, did: list[Any]) -> None:
    await tools.services("pay")
    await tools.who("web", all_namespaces=True)
    await tools.who()
    await tools.doctor()
    await tools.version()
    assert did == [
        (("list",), {"kubeconfig": "/k", "namespace": "pay"}),
        (("who", "web"), {"kubeconfig": "/k", "all_namespaces": True}),
        (("who",), {"kubeconfig": "/k"}),
        (("doctor",), {"kubeconfig": "/k"}),
        (("version",), {"kubeconfig": "/k"}),
    ]


@pytest.mark.parametrize(
    "look",
    [
        lambda tools: tools.services("pay"),
        lambda tools: tools.who(all_namespaces=True),
        lambda tools: tools.exchange("web", ["3001:80"], "pay"),
        lambda tools: tools.run(["true"], namespace="pay"),
    ],
)
async def test_no_tool_leaves_the_servers_namespace(look: Callable[[Tools], Any], did: list[Any]) -> None:
    tools = Tools({"namespace": "shop"})
    with pytest.raises(UsageError, match="This server is for namespace shop only"):
        await look(tools)
    await tools.services("shop")
    await tools.services()
    assert did == [(("list",), {"namespace": "shop"})] * 2


@pytest.mark.parametrize(
    "look",
    [
        lambda tools: tools.who("--all-namespaces"),
        lambda tools: tools.logs("--follow"),
        lambda tools: tools.requests("--body=9999"),
        lambda tools: tools.forward("web", ["--namespace=pay"]),
        lambda tools: tools.exchange("--context=prod", ["3001:80"]),
        lambda tools: tools.run(["true"], "--context=prod"),
    ],
)
async def test_no_tool_takes_an_option_for_a_name(look: Callable[[Tools], Any], did: list[Any]) -> None:
    with pytest.raises(UsageError, match="begins with a hyphen"):
        await look(Tools({"namespace": "shop"}))
    assert did == []


async def test_what_they_begin_ends_once(tools: Tools, did: list[Any]) -> None:
    forward = await tools.forward("web", ["8080:80"])
    assert (forward["session"], forward["status"]["pid"]) == ("forward-1", 7)
    await tools.exchange("web", ["3001:80"])
    await tools.mesh("web", ["3001:80", "3002:81"], headers={"user": "al"}, namespace="pay")
    await tools.preview("pay", ["3001:80"])
    assert (await tools.status())["of_this_server"] == dict.fromkeys(
        ["forward-1", "forward-2", "forward-3", "forward-4"], 7
    )
    begun = [words for words in did if words[0] == "begin"]
    assert begun == [
        ("begin", "forward", "--kubeconfig=/k", "web", "8080:80"),
        ("begin", "exchange", "web", "--expose=3001:80", "--when-local-down=origin", "--kubeconfig=/k"),
        (
            *("begin", "mesh", "web", "--expose=3001:80", "--expose=3002:81"),
            *("--header=user=al", "--kubeconfig=/k", "--namespace=pay"),
        ),
        ("begin", "preview", "pay", "--expose=3001:80", "--kubeconfig=/k"),
    ]
    assert await tools.leave("forward-2") == {"left": "forward-2"}
    with pytest.raises(UsageError, match="has begun no session forward-2"):
        await tools.leave("forward-2")
    await tools.end_all()  # where one cannot be given back, the others are
    await tools.end_all()
    assert sorted(words[1] for words in did if words[0] == "end") == ["exchange", "forward", "mesh", "preview"]


async def test_a_programs_output_is_cut_to_its_end(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(command: list[str], workload: str | None, **_: Any) -> "subprocess.CompletedProcess[str]":
        if command == ["sleep"]:
            raise TimeoutError
        return subprocess.CompletedProcess(command, 3, "x" * OUTPUT_CHARACTERS + "end", workload or "")

    monkeypatch.setattr(verbs, "run", run)
    done = await tools.run(["make", "noise"], "deploy/web")
    assert (done["exit_code"], len(done["stdout"]), done["stdout"][-4:], done["stderr"]) == (
        *(3, OUTPUT_CHARACTERS, "xend", "deploy/web"),
    )
    with pytest.raises(UsageError, match="The program was ended after 7 s"):
        await tools.run(["sleep"], timeout_s=7)


def test_each_tells_an_agent_what_it_is_for() -> None:
    assert all(one.__doc__ for one in (*READS, *CHANGES))
    named = {name for name in vars(Tools) if not name.startswith("_")}
    assert {one.__name__ for one in (*READS, *CHANGES)} == named - {"end_all"}
