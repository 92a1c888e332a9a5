"""Credential plugins are real programs here: shell scripts in a temporary directory."""

import asyncio
import json
import os
import shlex
import stat
from pathlib import Path
from typing import Any

import pytest

from ktpy.errors import Unauthorized
from ktpy.kube import exec_plugin

V1 = "client.authentication.k8s.io/v1"
CLUSTER = {"server": "https://api.test:6443"}


def answer(**status: Any) -> str:
    return json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": status})


@pytest.fixture
def script(tmp_path: Path) -> Any:
    def write(body: str, **plugin: Any) -> dict[str, Any]:
        path = tmp_path / "plugin"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return {"apiVersion": V1, "command": str(path), "interactiveMode": "Never", **plugin}

    return write


async def test_a_token_with_its_expiry(script: Any) -> None:
    body = f"echo {shlex.quote(answer(token='secret', expirationTimestamp='2030-01-01T00:00:00Z'))}"
    credential = await exec_plugin.run(script(body), CLUSTER)
    assert credential == exec_plugin.ExecCredential("secret", None, None, 1893456000.0)


async def test_a_certificate(script: Any) -> None:
    body = f"echo {shlex.quote(answer(clientCertificateData='C', clientKeyData='K'))}"
    credential = await exec_plugin.run(script(body), CLUSTER)
    assert (credential.token, credential.certificate, credential.key) == (None, "C", "K")


async def test_arguments_and_environment_reach_the_plugin(script: Any) -> None:
    body = f"""echo {shlex.quote(answer(token="@"))} | sed "s/@/$1-$PROFILE/\""""
    plugin = script(body, args=["eks"], env=[{"name": "PROFILE", "value": "dev"}])
    assert (await exec_plugin.run(plugin, CLUSTER)).token == "eks-dev"


async def test_the_cluster_reaches_a_plugin_that_wants_it(script: Any, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("PEM")
    body = f"""echo "$KUBERNETES_EXEC_INFO" > {tmp_path}/info; echo {shlex.quote(answer(token="t"))}"""
    cluster = CLUSTER | {
        "certificate-authority": str(tmp_path / "ca.pem"),
        "extensions": [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}}],
    }
    await exec_plugin.run(script(body, provideClusterInfo=True), cluster)
    info = json.loads((tmp_path / "info").read_text())
    assert info["spec"] == {
        "interactive": False,
        "cluster": {
            "server": "https://api.test:6443",
            "certificate-authority-data": "UEVN",
            "config": {"audience": "a"},
        },
    }


async def test_a_failing_plugin_speaks_for_itself(script: Any) -> None:
    with pytest.raises(Unauthorized, match="exit code 3") as raised:
        await exec_plugin.run(script("echo 'your login has expired: run acme login' >&2; exit 3"), CLUSTER)
    assert raised.value.hint == "your login has expired: run acme login"


async def test_an_absent_plugin_says_how_to_get_it(tmp_path: Path) -> None:
    plugin = {"apiVersion": V1, "command": str(tmp_path / "absent"), "installHint": "brew install absent"}
    with pytest.raises(Unauthorized, match="cannot be run: No such file") as raised:
        await exec_plugin.run(plugin, CLUSTER)
    assert raised.value.hint == "brew install absent"


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("", "no ExecCredential"),
        ("token", "no ExecCredential"),
        ("[]", "no ExecCredential"),
        (json.dumps({"apiVersion": V1}), "no ExecCredential"),
        (json.dumps({"apiVersion": V1, "status": None}), "no ExecCredential"),
        (answer(token="t", expirationTimestamp="soon"), "no ExecCredential"),
        (answer(), "neither a token nor a certificate"),
        (answer(clientCertificateData="C"), "neither a token nor a certificate"),
        (json.dumps({"apiVersion": f"{V1}beta1", "status": {"token": "t"}}), "answers in"),
    ],
)
async def test_an_answer_that_is_none(script: Any, output: str, message: str) -> None:
    with pytest.raises(Unauthorized, match=message):
        await exec_plugin.run(script(f"echo {shlex.quote(output)}"), CLUSTER)


async def test_much_output_on_both_streams_does_not_block(script: Any) -> None:
    body = f"head -c 300000 /dev/zero | tr '\\0' x >&2; echo {shlex.quote(answer(token='t' * 200000))}"
    assert len((await exec_plugin.run(script(body), CLUSTER)).token or "") == 200000


async def test_a_plugin_that_needs_a_terminal_is_refused_without_one(
    script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(Unauthorized, match="no terminal"):
        await exec_plugin.run(script("exit 0", interactiveMode="Always"), CLUSTER)


async def test_a_cancelled_wait_ends_the_plugin(script: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pid")
    waiting = asyncio.create_task(exec_plugin.run(script(f"echo $$ > {tmp_path}/pid; exec sleep 60"), CLUSTER))
    pid = int(await asyncio.to_thread((tmp_path / "pid").read_text))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
