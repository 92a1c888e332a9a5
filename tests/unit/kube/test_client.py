"""The client against a scripted API server: what it sends, and what becomes of each kind of answer."""

import json
import logging
import socket
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from ktpy.errors import (
    ApiUnreachable,
    ContextUnknown,
    KubeconfigMissing,
    NamespaceAbsent,
    QuotaExceeded,
    Unauthorized,
)
from ktpy.kube import client, kubeconfig
from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from ktpy.kube.refusals import NotFound, RightMissing, Unavailable
from tests.unit.kube import api_stub
from tests.unit.kube.api_stub import Answer, ApiStub, refusing
from tests.unit.kube.certificates import KeyPair

PODS = "/api/v1/namespaces/shop/pods"


async def test_a_request_carries_query_body_and_credentials(key_pair: KeyPair, tmp_path: Path) -> None:
    async with api_stub.serving(api_stub.server_side(key_pair)) as stub:
        stub.script("POST /apis/batch/v1/namespaces/shop/jobs", Answer({"metadata": {"uid": "1"}}, status=201))
        api = await Api.load(api_stub.kubeconfig(tmp_path, stub.url, {"token": "t"}, api_stub.INSECURE))
        answer = await api.request(
            "POST", "/apis/batch/v1/namespaces/shop/jobs", query={"dryRun": "All"}, body={"kind": "Job"}
        )
        await api.close()
    [asked] = stub.asked
    assert answer == {"metadata": {"uid": "1"}}
    assert (asked.query, asked.body) == ({"dryRun": "All"}, {"kind": "Job"})
    assert (asked.headers["Authorization"], asked.headers["Content-Type"]) == ("Bearer t", "application/json")


async def test_a_merge_patch_keeps_its_content_type_and_its_null(stub: ApiStub, api: Api) -> None:
    stub.script("PATCH /j", Answer())
    await api.request("PATCH", "/j", body={"a": None}, content_type="application/merge-patch+json")
    assert stub.asked[0].headers["Content-Type"] == "application/merge-patch+json"
    assert stub.asked[0].body == {"a": None}


async def test_warnings_of_the_server_are_collected(stub: ApiStub, api: Api) -> None:
    stub.script("POST /j", Answer(headers={"Warning": '299 - "would violate PodSecurity"'}))
    warnings: list[str] = []
    await api.request("POST", "/j", body={}, warnings=warnings)
    assert warnings == ["would violate PodSecurity"]


async def test_requests_and_watches_are_traced_without_secrets(
    stub: ApiStub, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    stub.script(f"GET {PODS}", Answer())
    stub.script(f"WATCH {PODS}", Answer(lines=[{"type": "ADDED"}], is_endless=False))
    with caplog.at_level(logging.DEBUG, "ktpy.observe"):
        await api.request("GET", PODS)
        async for _ in api.lines(PODS, query={"watch": "true"}, silence_s=5):
            pass
    started = [record.getMessage() for record in caplog.records if record.getMessage().endswith("started")]
    request = f"request GET {PODS}: started"
    assert started == [request, f"watch {PODS}: started", request]
    assert "Bearer" not in caplog.text


async def test_text_is_not_parsed(stub: ApiStub, api: Api) -> None:
    stub.script(f"GET {PODS}/x/log", Answer("one\ntwo\n"))
    assert await api.text(f"{PODS}/x/log") == "one\ntwo\n"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refusing(401, "Unauthorized"), Unauthorized),
        (api_stub.forbidding(), RightMissing),
        (refusing(404, 'namespaces "shop" not found', kind="namespaces", name="shop"), NamespaceAbsent),
        (refusing(404, 'pods "x" not found'), NotFound),
        (refusing(403, "exceeded quota: q"), QuotaExceeded),
        (refusing(500, "etcdserver: leader changed"), Unavailable),
        (Answer("<html>502 Bad Gateway</html>", status=502), Unavailable),
        (Answer("<html>welcome to the router</html>"), ApiUnreachable),
        (Answer('"a string"'), ApiUnreachable),
    ],
)
async def test_refusals(stub: ApiStub, api: Api, answer: Answer, error: type[Exception]) -> None:
    stub.script(f"GET {PODS}", answer)
    with pytest.raises(error) as raised:
        await api.request("GET", PODS)
    assert type(raised.value) is error


async def test_a_server_that_asks_to_come_back_is_asked_again(stub: ApiStub, api: Api) -> None:
    busy = Answer(api_stub.refused(429, "too many requests"), status=429, headers={"Retry-After": "0"})
    stub.script(f"GET {PODS}", busy, busy, Answer({"items": []}))
    assert await api.request("GET", PODS) == {"items": []}


async def test_a_server_that_is_busy_for_long_is_given_up(stub: ApiStub, api: Api) -> None:
    stub.script(f"GET {PODS}", Answer(api_stub.refused(503, "busy"), status=503, headers={"Retry-After": "0"}))
    with pytest.raises(Unavailable):
        await api.request("GET", PODS)
    assert len(stub.asked) == client.BUSY_RETRIES + 1


async def test_lines_end_when_the_server_ends_them(stub: ApiStub, api: Api) -> None:
    stub.script(f"WATCH {PODS}", Answer(lines=[{"n": 1}, {"n": 2}], is_endless=False))
    lines = [json.loads(line) async for line in api.lines(PODS, query={"watch": "true"}, silence_s=5)]
    assert lines == [{"n": 1}, {"n": 2}]


async def test_lines_that_fall_silent_are_a_broken_link(stub: ApiStub, api: Api) -> None:
    stub.script(f"WATCH {PODS}", Answer(lines=[{"n": 1}]))
    lines = api.lines(PODS, query={"watch": "true"}, silence_s=0.05)
    assert json.loads(await anext(lines)) == {"n": 1}
    with pytest.raises(ApiUnreachable, match="did not answer in time"):
        await anext(lines)


async def test_a_request_that_takes_too_long(stub: ApiStub, api: Api) -> None:
    stub.script(f"GET {PODS}", Answer(lines=[]))
    with pytest.raises(ApiUnreachable, match="did not answer in time"):
        await api.request("GET", PODS, timeout_s=0.05)


class TestRenewal:
    """A 401 is answered once with new credentials."""

    @staticmethod
    def reject(stub: ApiStub, *, until: str) -> None:
        """Answer 401 to every token but `until`."""
        answer_all = stub.answer

        async def answer(request: Any) -> Any:
            if request.headers.get("Authorization") != f"Bearer {until}":
                return api_stub.json_reply(api_stub.refused(401, "Unauthorized"), 401)
            return await answer_all(request)

        stub.answer = answer  # type: ignore[method-assign]

    async def test_a_token_file_that_has_rotated(self, key_pair: KeyPair, tmp_path: Path) -> None:
        (tmp_path / "token").write_text("old")
        tls = api_stub.server_side(key_pair)
        async with api_stub.serving(tls, prepare=lambda stub: self.reject(stub, until="new")) as stub:
            stub.script("GET /version", Answer({"major": "1"}))
            file = api_stub.kubeconfig(tmp_path, stub.url, {"tokenFile": "token"}, api_stub.INSECURE)
            api = await Api.load(file)
            with pytest.raises(Unauthorized):
                await api.request("GET", "/version")
            (tmp_path / "token").write_text("new")
            assert await api.request("GET", "/version") == {"major": "1"}
            await api.close()

    async def test_a_kubeconfig_into_which_somebody_has_logged_in(self, key_pair: KeyPair, tmp_path: Path) -> None:
        """As `oc login` does. Meanwhile it is of no use, and another context may become the current one."""
        tls = api_stub.server_side(key_pair)
        async with api_stub.serving(tls, prepare=lambda stub: self.reject(stub, until="new")) as stub:
            stub.script("GET /version", Answer({"major": "1"}))
            file = api_stub.kubeconfig(tmp_path, stub.url, {"token": "old"}, api_stub.INSECURE)
            api, config = await Api.load(file), tmp_path / Path(file).name
            written = config.read_text()
            for useless in (written, "{", ""):
                config.write_text(useless)
                with pytest.raises(Unauthorized):
                    await api.request("GET", "/version")
            config.write_text(written.replace("old", "new").replace("current-context: ", "current-context: not-"))
            assert await api.request("GET", "/version") == {"major": "1"}
            await api.close()


@pytest.mark.parametrize("user", [{"token": "t"}, {"username": "al", "password": "p"}, {"tokenFile": "absent"}])
async def test_no_credentials_go_over_plain_http(
    stub: ApiStub, tmp_path: Path, user: Json, caplog: pytest.LogCaptureFixture
) -> None:
    stub.script("GET /version", Answer({"major": "1"}))
    api = await Api.load(api_stub.kubeconfig(tmp_path, stub.url, user | {"as": "bob"}))
    await api.request("GET", "/version")
    await api.close()
    assert "Authorization" not in stub.asked[0].headers
    assert stub.asked[0].headers["Impersonate-User"] == "bob"
    assert "plain HTTP" in caplog.text


async def test_impersonation_repeats_its_headers(stub: ApiStub, tmp_path: Path) -> None:
    stub.script("GET /version", Answer({"major": "1"}))
    user = {"as": "bob", "as-groups": ["dev", "ops"], "as-user-extra": {"acme.com/project": ["one", "two"]}}
    api = await Api.load(api_stub.kubeconfig(tmp_path, stub.url, user))
    await api.request("GET", "/version")
    headers = (await api.endpoint()).headers
    await api.close()
    for sent in (stub.asked[0].headers.items(), headers):
        named = [(name, value) for name, value in sent if name.startswith("Impersonate")]
        assert named == [
            ("Impersonate-User", "bob"),
            ("Impersonate-Group", "dev"),
            ("Impersonate-Group", "ops"),
            ("Impersonate-Extra-acme.com%2Fproject", "one"),
            ("Impersonate-Extra-acme.com%2Fproject", "two"),
        ]


@pytest.mark.parametrize(
    "status",
    [
        {"message": ["a"], "details": "b"},
        {"message": {}, "details": [1]},
        {"message": None, "details": {"kind": ["namespaces"]}},
    ],
)
async def test_a_status_of_other_types_is_a_refusal(stub: ApiStub, api: Api, status: Json) -> None:
    stub.script("GET /version", Answer(status, status=404))
    with pytest.raises(NotFound):
        await api.request("GET", "/version")


@pytest.mark.parametrize("text", ["[" * 200_000, "[1]", "3", "NaN", ""])
@pytest.mark.parametrize("code", [200, 404])
async def test_no_json_object(stub: ApiStub, api: Api, text: str, code: int) -> None:
    stub.script("GET /version", Answer(text, status=code))
    with pytest.raises(ApiUnreachable if code == 200 else NotFound):
        await api.request("GET", "/version")


class TestEndpoint:
    async def test_carries_what_a_raw_connection_needs(self, tmp_path: Path) -> None:
        cluster = {"tls-server-name": "api.test", "proxy-url": "http://proxy.test:3128"}
        file = api_stub.kubeconfig(tmp_path, "https://rancher.test/k8s/c-1/", {"token": "t"}, cluster)
        api = await Api.load(file)
        endpoint = await api.endpoint()
        assert (endpoint.host, endpoint.port, endpoint.path_prefix) == ("rancher.test", 443, "/k8s/c-1")
        assert (endpoint.server_hostname, endpoint.proxy) == ("api.test", "http://proxy.test:3128")
        assert endpoint.tls is not None
        assert ("Authorization", "Bearer t") in endpoint.headers
        await api.close()

    async def test_plain_http(self, stub: ApiStub, api: Api) -> None:
        endpoint = await api.endpoint()
        assert (endpoint.tls, f"http://{endpoint.authority}") == (None, stub.url)

    async def test_impersonation(self, tmp_path: Path) -> None:
        api = await Api.load(api_stub.kubeconfig(tmp_path, "https://api.test", {"as": "bob"}))
        assert ("Impersonate-User", "bob") in (await api.endpoint()).headers
        await api.close()


class TestAddresses:
    async def test_of_the_server(self, api: Api) -> None:
        assert await api.addresses() == [ip_address("127.0.0.1")]

    async def test_of_the_proxy_where_there_is_one(self, tmp_path: Path) -> None:
        cluster = {"proxy-url": "http://[::1]:3128"}
        api = await Api.load(api_stub.kubeconfig(tmp_path, "https://10.0.0.1:6443", cluster=cluster))
        assert await api.addresses() == [ip_address("::1")]
        await api.close()

    async def test_a_name_that_does_not_resolve(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def unknown(*_: Any, **__: Any) -> Any:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        api = await Api.load(api_stub.kubeconfig(tmp_path, "https://gone.test:6443"))
        with pytest.raises(ApiUnreachable, match="Name or service not known") as raised:
            await api.addresses()
        assert "does not resolve" in (raised.value.hint or "")
        await api.close()


class TestLoad:
    @pytest.fixture(autouse=True)
    def empty_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("KUBECONFIG", raising=False)
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    async def test_no_kubeconfig_at_all(self) -> None:
        with pytest.raises(KubeconfigMissing, match="There is no kubeconfig"):
            await Api.load()

    async def test_an_unknown_context(self, tmp_path: Path) -> None:
        with pytest.raises(ContextUnknown):
            await Api.load(api_stub.kubeconfig(tmp_path, "https://api.test"), context="prod")

    async def test_the_target(self, tmp_path: Path) -> None:
        api = await Api.load(api_stub.kubeconfig(tmp_path, "https://api.test"), namespace="bar")
        assert api.target == kubeconfig.KubeContext("stub", "stub", "al", "bar", "https://api.test")
        assert api.namespace == "bar"
        await api.close()

    async def test_in_a_pod(self, stub: ApiStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "token").write_text("sa")
        monkeypatch.setattr(kubeconfig, "SERVICE_ACCOUNT_DIR", tmp_path)
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        with pytest.raises(
            KubeconfigMissing, match="certificate-authority"
        ):  # taken for a pod, whose ca.crt is missing
            await Api.load()

    @pytest.mark.parametrize(
        ("cluster", "user"),
        [
            ({"certificate-authority-data": "bm8gUEVN"}, {}),
            ({"certificate-authority": "absent.pem"}, {}),
            ({}, {"client-certificate-data": "bm8gUEVN", "client-key-data": "bm8gUEVN"}),
        ],
    )
    async def test_unusable_certificates(self, tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any]) -> None:
        with pytest.raises(KubeconfigMissing):
            await Api.load(api_stub.kubeconfig(tmp_path, "https://api.test", user, cluster))


async def test_a_dated_answer_tells_the_servers_own_time(stub: ApiStub, api: Api) -> None:
    date = {"Date": "Tue, 01 Jan 2030 12:00:00 GMT"}
    stub.script("GET /api/v1/pods", Answer({"items": []}, headers=date))
    answer, answered_at = await api.dated("/api/v1/pods")
    assert answer == {"items": []}
    assert answered_at.isoformat() == "2030-01-01T12:00:00+00:00"


async def test_a_server_that_does_not_tell_its_time(stub: ApiStub, api: Api) -> None:
    stub.script("GET /api/v1/pods", Answer({"items": []}, headers={"Date": "soon"}))
    with pytest.raises(ApiUnreachable, match="does not tell its time"):
        await api.dated("/api/v1/pods")
