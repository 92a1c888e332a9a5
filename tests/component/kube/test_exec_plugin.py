"""Credential plugins are real programs here: shell scripts in a temporary directory."""

import asyncio
import base64
import json
import os
import shlex
import ssl
import stat
from pathlib import Path
from typing import Any

import pytest

from ktpy.errors import Unauthorized
from ktpy.kube import exec_plugin
from ktpy.kube.client import Api
from ktpy.kube.credentials import from_user, load_key_pair
from tests.unit.kube import api_stub
from tests.unit.kube.api_stub import Answer, ApiStub
from tests.unit.kube.certificates import KeyPair

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


# --- the client with a plugin in its kubeconfig


def reject_old(stub: ApiStub) -> None:
    """Answer 401 to every token but `new`."""
    answer_all = stub.answer

    async def reject(request: Any) -> Any:
        if request.headers.get("Authorization") != "Bearer new":
            return api_stub.json_reply(api_stub.refused(401, "Unauthorized"), 401)
        return await answer_all(request)

    stub.answer = reject  # type: ignore[method-assign]


async def test_after_a_401_the_client_asks_again(key_pair: KeyPair, tmp_path: Path) -> None:
    """The plugin's second answer is another token."""
    plugin = tmp_path / "plugin"
    plugin.write_text(
        "#!/bin/sh\n"
        f"[ -e {tmp_path}/asked ] && token=new || token=old; touch {tmp_path}/asked\n"
        """printf '{"apiVersion": "client.authentication.k8s.io/v1", "status": {"token": "%s"}}' $token\n"""
    )
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./plugin"}}
    async with api_stub.serving(api_stub.server_side(key_pair), prepare=reject_old) as stub:
        stub.script("GET /version", Answer({"major": "1"}))
        api = await Api.load(api_stub.kubeconfig(tmp_path, stub.url, user, api_stub.INSECURE))
        assert await api.request("GET", "/version") == {"major": "1"}
        await api.close()


async def test_over_plain_http_no_plugin_is_run(stub: ApiStub, tmp_path: Path) -> None:
    stub.script("GET /version", Answer({"major": "1"}))
    user = {"exec": {"apiVersion": "v1", "command": "touch", "args": [str(tmp_path / "was-run")]}}
    api = await Api.load(api_stub.kubeconfig(tmp_path, stub.url, user))
    assert await api.request("GET", "/version") == {"major": "1"}
    assert not (tmp_path / "was-run").exists()
    await api.close()


async def test_the_client_hands_on_what_a_failing_plugin_says(tmp_path: Path) -> None:
    user = {"exec": {"apiVersion": "v1", "command": "sh", "args": ["-c", "echo log in first >&2; exit 1"]}}
    api = await Api.load(api_stub.kubeconfig(tmp_path, "https://api.test", user))
    with pytest.raises(Unauthorized) as raised:
        await api.request("GET", "/version")
    assert raised.value.hint == "log in first"
    await api.close()


async def test_a_certificate_of_a_plugin_opens_the_connection(
    key_pair: KeyPair, other_key_pair: KeyPair, tmp_path: Path
) -> None:
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_key_pair(server_tls, (key_pair.certificate, key_pair.key))
    server_tls.verify_mode = ssl.CERT_REQUIRED
    server_tls.load_verify_locations(cadata=other_key_pair.certificate.decode())
    cluster = {"certificate-authority-data": base64.b64encode(key_pair.certificate).decode()}
    status = {
        "clientCertificateData": other_key_pair.certificate.decode(),
        "clientKeyData": other_key_pair.key.decode(),
    }
    version = "client.authentication.k8s.io/v1"
    (tmp_path / "answer").write_text(json.dumps({"apiVersion": version, "status": status}))
    plugin = {"apiVersion": version, "command": "cat", "args": [str(tmp_path / "answer")]}
    async with api_stub.serving(server_tls) as stub:
        stub.script("GET /version", Answer({"major": "1"}))
        api = await Api.load(api_stub.kubeconfig(tmp_path, stub.url, user={"exec": plugin}, cluster=cluster))
        assert await api.request("GET", "/version") == {"major": "1"}
        await api.close()


async def test_the_script_of_a_kubeconfig_is_run(tmp_path: Path) -> None:
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "status": {"token": "real"}}
    (tmp_path / "answer").write_text(json.dumps(answer))
    plugin = {"apiVersion": answer["apiVersion"], "command": "cat", "args": [str(tmp_path / "answer")]}
    assert await from_user({"exec": plugin}, {}).header() == "Bearer real"
