import base64
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from ktpy.errors import KubeconfigMissing, Unauthorized
from ktpy.kube import credentials, exec_plugin
from ktpy.kube.credentials import (
    PLUGIN_AGAIN_S,
    ExecPlugin,
    KubeconfigUser,
    TokenFile,
    file_or_data,
    from_user,
    load_key_pair,
)
from ktpy.kube.exec_plugin import ExecCredential
from tests.unit.kube.certificates import KeyPair


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize(
    ("user", "header"),
    [
        ({"token": "abc"}, "Bearer abc"),
        ({"username": "al", "password": "pw"}, "Basic " + base64.b64encode(b"al:pw").decode()),
        ({"auth-provider": {"name": "oidc", "config": {"id-token": "jwt"}}}, "Bearer jwt"),
        ({"token": "abc", "exec": {"command": "never-run"}}, "Bearer abc"),
        ({}, None),
    ],
)
async def test_header(user: dict[str, Any], header: str | None) -> None:
    found = from_user(user, {})
    assert await found.header() == header
    assert not await found.renew()


@pytest.mark.parametrize("name", ["gcp", "azure", "oidc"])
def test_a_provider_without_a_token_names_the_way_out(name: str) -> None:
    with pytest.raises(Unauthorized, match=name) as raised:
        from_user({"auth-provider": {"name": name}}, {})
    assert "exec" in (raised.value.hint or "")
    assert "`auth-provider`" in raised.value.message
    assert "unsupported" in raised.value.message


class TestTokenFile:
    async def test_is_read_without_its_newline(self, tmp_path: Path) -> None:
        (tmp_path / "token").write_text("abc\n")
        assert await from_user({"tokenFile": str(tmp_path / "token"), "token": "old"}, {}).header() == "Bearer abc"

    async def test_a_rotated_token_is_found_within_a_minute(self, tmp_path: Path, clock: Clock) -> None:
        file = tmp_path / "token"
        file.write_text("one")
        token = TokenFile(file, clock)
        assert await token.header() == "Bearer one"
        file.write_text("two")
        clock.now += 59
        assert await token.header() == "Bearer one"
        clock.now += 1
        assert await token.header() == "Bearer two"

    async def test_after_a_401_it_is_read_at_once(self, tmp_path: Path, clock: Clock) -> None:
        file = tmp_path / "token"
        file.write_text("one")
        token = TokenFile(file, clock)
        await token.header()
        assert not await token.renew()  # the same: asking again would not help
        file.write_text("two")
        assert await token.renew()
        assert await token.header() == "Bearer two"

    @pytest.mark.parametrize(("content", "message"), [(None, "cannot be read"), ("", "is empty"), (" \n", "is empty")])
    async def test_a_useless_file(self, tmp_path: Path, content: str | None, message: str) -> None:
        if content is not None:
            (tmp_path / "token").write_text(content)
        with pytest.raises(Unauthorized, match=message):
            await TokenFile(tmp_path / "token").header()


class TestKubeconfigUser:
    async def test_a_certificate_that_was_renewed(self, tmp_path: Path) -> None:
        files = {"client-certificate": str(tmp_path / "cert"), "client-key": str(tmp_path / "key")}
        for name in ("cert", "key"):
            (tmp_path / name).write_text("old")
        user = KubeconfigUser(files, {}, lambda: files)
        assert user.key_pair is None  # the connections have it already
        assert not await user.renew()
        (tmp_path / "cert").write_text("new")
        assert await user.renew()
        assert user.key_pair == (b"new", b"old")
        assert not await user.renew()

    async def test_a_plugin_renews_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def run(*_: Any) -> ExecCredential:
            return ExecCredential("t", "C", "K", None)

        def read_again() -> Any:
            raise AssertionError("the kubeconfig was read again")

        monkeypatch.setattr(exec_plugin, "run", run)
        user = KubeconfigUser({"exec": {"command": "x"}}, {}, read_again)
        assert await user.renew()
        assert user.key_pair == (b"C", b"K")


class TestExecPlugin:
    @pytest.fixture
    def answers(self, monkeypatch: pytest.MonkeyPatch) -> list[ExecCredential]:
        """What the plugin answers, one after the other."""
        scripted: list[ExecCredential] = []

        async def run(plugin: Any, cluster: Any) -> ExecCredential:
            return scripted.pop(0)

        monkeypatch.setattr(exec_plugin, "run", run)
        return scripted

    async def test_is_asked_again_before_its_token_expires(self, clock: Clock, answers: list[ExecCredential]) -> None:
        answers += [ExecCredential("one", None, None, 1600.0), ExecCredential("two", None, None, 2200.0)]
        plugin = ExecPlugin({}, {}, clock)
        assert await plugin.header() == "Bearer one"
        clock.now = 1569.0
        assert await plugin.header() == "Bearer one"
        clock.now = 1570.0
        assert await plugin.header() == "Bearer two"

    async def test_is_asked_once_when_its_token_does_not_expire(
        self, clock: Clock, answers: list[ExecCredential]
    ) -> None:
        answers += [ExecCredential("one", None, None, None)]
        plugin = ExecPlugin({}, {}, clock)
        await plugin.header()
        clock.now = 1e9
        assert await plugin.header() == "Bearer one"

    async def test_is_not_asked_for_each_request_when_its_cache_gives_old_tokens(
        self, clock: Clock, answers: list[ExecCredential]
    ) -> None:
        answers += [ExecCredential("old", None, None, 900.0), ExecCredential("new", None, None, 5000.0)]
        plugin = ExecPlugin({}, {}, clock)
        await plugin.header()
        clock.now += 9
        assert await plugin.header() == "Bearer old"
        clock.now += 1
        assert await plugin.header() == "Bearer new"

    async def test_is_asked_again_after_a_401(self, clock: Clock, answers: list[ExecCredential]) -> None:
        answers += [ExecCredential("one", None, None, None), ExecCredential("two", None, None, None)]
        plugin = ExecPlugin({}, {}, clock)
        await plugin.header()
        assert await plugin.renew()
        assert await plugin.header() == "Bearer two"

    async def test_is_not_asked_again_and_again_when_its_answers_are_not_accepted(
        self, clock: Clock, answers: list[ExecCredential]
    ) -> None:
        answers += [ExecCredential(token, None, None, None) for token in ("one", "two", "three")]
        plugin = ExecPlugin({}, {}, clock)
        await plugin.header()
        for _ in range(3):
            assert await plugin.renew()
            assert await plugin.header() == "Bearer two"
        clock.now += PLUGIN_AGAIN_S
        assert await plugin.renew()
        assert await plugin.header() == "Bearer three"

    async def test_its_failure_counts_for_every_request_of_a_moment(
        self, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It may open a browser."""
        asked = 0

        async def fail(*_: Any) -> ExecCredential:
            nonlocal asked
            asked += 1
            raise Unauthorized(f"Failed for the {asked}. time.")

        monkeypatch.setattr(exec_plugin, "run", fail)
        plugin = ExecPlugin({}, {}, clock)
        for number in (1, 2):
            for _ in range(3):
                with pytest.raises(Unauthorized, match=f"the {number}. time"):
                    await plugin.header()
            clock.now += PLUGIN_AGAIN_S

    async def test_may_bring_a_certificate_and_no_token(self, clock: Clock, answers: list[ExecCredential]) -> None:
        answers += [ExecCredential(None, "C", "K", None)]
        plugin = ExecPlugin({}, {}, clock)
        assert await plugin.header() is None
        assert plugin.key_pair == (b"C", b"K")


class TestFileOrData:
    def test_data_wins(self, tmp_path: Path) -> None:
        (tmp_path / "ca").write_text("file")
        section = {"ca": str(tmp_path / "ca"), "ca-data": base64.b64encode(b"data").decode()}
        assert file_or_data(section, "ca") == b"data"

    def test_file(self, tmp_path: Path) -> None:
        (tmp_path / "ca").write_text("file")
        assert file_or_data({"ca": str(tmp_path / "ca")}, "ca") == b"file"

    def test_neither(self) -> None:
        assert file_or_data({}, "ca") is None

    @pytest.mark.parametrize("section", [{"ca": "/nowhere/ca"}, {"ca": "a\0b"}, {"ca-data": "%%%"}, {"ca-data": "abc"}])
    def test_unusable(self, section: dict[str, str]) -> None:
        with pytest.raises(KubeconfigMissing, match="ca cannot be read"):
            file_or_data(section, "ca")


class TestLoadKeyPair:
    def test_is_taken_by_tls_and_leaves_no_file(self, key_pair: KeyPair, monkeypatch: pytest.MonkeyPatch) -> None:
        context = ssl.create_default_context(cadata=key_pair.certificate.decode())
        monkeypatch.setattr("tempfile.mkstemp", None)
        load_key_pair(context, (key_pair.certificate, key_pair.key))
        assert x509.load_pem_x509_certificate(key_pair.certificate).subject is not None

    def test_where_there_are_no_files_in_memory_it_is_gone_at_once(
        self, key_pair: KeyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.platform", "darwin")
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        monkeypatch.delattr("os.memfd_create")
        load_key_pair(ssl.create_default_context(), (key_pair.certificate, key_pair.key))
        assert list(tmp_path.iterdir()) == []

    def test_a_key_of_another_certificate(self, key_pair: KeyPair, other_key_pair: KeyPair) -> None:
        with pytest.raises(KubeconfigMissing, match="cannot be used"):
            load_key_pair(ssl.create_default_context(), (key_pair.certificate, other_key_pair.key))

    def test_no_pem(self) -> None:
        with pytest.raises(KubeconfigMissing, match="cannot be used"):
            load_key_pair(ssl.create_default_context(), (b"C", b"K"))

    def test_an_encrypted_key_is_refused_instead_of_asking_on_the_terminal(self, key_pair: KeyPair) -> None:
        with pytest.raises(KubeconfigMissing, match="passphrase"):
            load_key_pair(ssl.create_default_context(), (key_pair.certificate, key_pair.encrypted_key))


def test_periods_are_what_the_documentation_says() -> None:
    assert (credentials.TOKEN_FILE_PERIOD_S, credentials.PLUGIN_EARLY_S) == (60.0, 30.0)
