from pathlib import Path

import pytest

from ktpy.errors import ContextUnknown, KubeconfigMissing
from ktpy.kube import kubeconfig

CLUSTER_A = """
clusters: [{name: a, cluster: {server: "https://a.test:6443/", certificate-authority: ca.pem}}]
users: [{name: ann, user: {client-certificate: pki/ann.crt, client-key: /keys/ann.key}}]
contexts:
- {name: in-a, context: {cluster: a, user: ann, namespace: shop}}
- {name: bare, context: {cluster: a}}
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_context_asked_for(files: Path) -> None:
    merged = kubeconfig.read([write(files / "config", CLUSTER_A)])
    target = kubeconfig.select(merged, "in-a").target
    assert target == kubeconfig.KubeContext("in-a", "a", "ann", "shop", "https://a.test:6443")


def test_the_namespace_option_wins(files: Path) -> None:
    merged = kubeconfig.read([write(files / "config", CLUSTER_A)])
    assert kubeconfig.select(merged, "in-a", "bar").target.namespace == "bar"


def test_a_context_without_user_and_namespace(files: Path) -> None:
    selection = kubeconfig.select(kubeconfig.read([write(files / "config", CLUSTER_A)]), "bare")
    assert (selection.target.user, selection.target.namespace, selection.user) == ("", "default", {})


def test_of_several_files_the_first_current_context_wins(files: Path) -> None:
    merged = kubeconfig.read(
        [
            write(files / "no-current", "clusters: []"),
            write(files / "first", CLUSTER_A + "current-context: in-a"),
            write(files / "second", "current-context: other"),
        ]
    )
    assert kubeconfig.select(merged).target.context == "in-a"


def test_of_several_files_the_first_entry_of_a_name_wins(files: Path) -> None:
    other = 'clusters: [{name: a, cluster: {server: "https://other.test"}}]'
    merged = kubeconfig.read([write(files / "1", CLUSTER_A), write(files / "2", other)])
    assert kubeconfig.select(merged, "in-a").target.server == "https://a.test:6443"


def test_a_context_may_name_what_another_file_holds(files: Path) -> None:
    contexts = "contexts: [{name: x, context: {cluster: a, user: ann}}]\ncurrent-context: x"
    merged = kubeconfig.read([write(files / "1", contexts), write(files / "2", CLUSTER_A)])
    assert kubeconfig.select(merged).target.cluster == "a"


def test_relative_paths_belong_to_their_own_file(files: Path) -> None:
    user = "users: [{name: bob, user: {tokenFile: token, exec: {command: ./login}}}]"
    context = "contexts: [{name: x, context: {cluster: a, user: bob}}]"
    merged = kubeconfig.read(
        [write(files / "one/config", CLUSTER_A), write(files / "two/config", user + "\n" + context)]
    )
    selection = kubeconfig.select(merged, "x")
    assert selection.cluster["certificate-authority"] == str(files / "one/ca.pem")
    assert selection.user["tokenFile"] == str(files / "two/token")
    assert selection.user["exec"]["command"] == str(files / "two/login")


def test_absolute_paths_and_commands_on_the_path_stay(files: Path) -> None:
    text = CLUSTER_A.replace("client-certificate: pki/ann.crt", "exec: {command: aws}")
    user = kubeconfig.select(kubeconfig.read([write(files / "config", text)]), "in-a").user
    assert (user["client-key"], user["exec"]["command"]) == ("/keys/ann.key", "aws")


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "clusters: null\nusers:\ncontexts:\n"])
def test_empty_files_are_passed_over(files: Path, text: str) -> None:
    merged = kubeconfig.read([write(files / "empty", text), write(files / "config", CLUSTER_A)])
    assert kubeconfig.select(merged, "in-a").target.cluster == "a"


def test_a_server_without_a_scheme_speaks_tls(files: Path) -> None:
    text = CLUSTER_A.replace("https://a.test:6443/", "a.test:6443")
    assert (
        kubeconfig.select(kubeconfig.read([write(files / "c", text)]), "in-a").cluster["server"]
        == "https://a.test:6443"
    )


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "just words",
        "[1, 2]",
        "clusters: [{cluster: {}}]",
        "clusters: [3]",
        "users: 5",
        "users: [{name: a, user: b}]",
        "\x00",
    ],
)
def test_malformed(files: Path, text: str) -> None:
    with pytest.raises(KubeconfigMissing, match="malformed") as raised:
        kubeconfig.read([write(files / "config", text)])
    assert "\n" not in raised.value.message


def test_not_text(files: Path) -> None:
    (files / "config").write_bytes(b"\xff\xfe\x00garbage")
    with pytest.raises(KubeconfigMissing, match="malformed"):
        kubeconfig.read([files / "config"])


def test_unreadable(files: Path) -> None:
    with pytest.raises(KubeconfigMissing, match="cannot be read: Is a directory"):
        kubeconfig.read([files / "one"])


@pytest.mark.parametrize("is_option", [True, False])
def test_below_a_folder_that_is_closed_to_the_user(is_option: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setenv("KUBECONFIG", "/closed/config")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "exists", refuse)
        patched.setattr(Path, "read_text", refuse)
        with pytest.raises(KubeconfigMissing, match=r"/closed/config.*Permission denied"):
            kubeconfig.selected("/closed/config" if is_option else None, None, None)


def test_an_unknown_context_names_the_known(files: Path) -> None:
    with pytest.raises(ContextUnknown, match="no context prod") as raised:
        kubeconfig.select(kubeconfig.read([write(files / "config", CLUSTER_A)]), "prod")
    assert "bare, in-a" in (raised.value.hint or "")


@pytest.mark.parametrize("line", ["", 'current-context: ""'])
def test_no_current_context(files: Path, line: str) -> None:
    with pytest.raises(ContextUnknown, match="no current context"):
        kubeconfig.select(kubeconfig.read([write(files / "config", CLUSTER_A + line)]))


@pytest.mark.parametrize(
    ("context", "message"),
    [("{cluster: gone, user: ann}", "cluster gone"), ("{cluster: a, user: gone}", "user gone"), ("{}", "cluster -")],
)
def test_a_context_that_names_nothing(files: Path, context: str, message: str) -> None:
    text = CLUSTER_A.replace("{cluster: a}", context)
    with pytest.raises(KubeconfigMissing, match=message):
        kubeconfig.select(kubeconfig.read([write(files / "config", text)]), "bare")


class TestPaths:
    def test_an_option_must_exist(self, files: Path) -> None:
        with pytest.raises(KubeconfigMissing, match="absent"):
            kubeconfig.paths(str(files / "absent"))
        with pytest.raises(KubeconfigMissing, match="~nobody-here"):
            kubeconfig.paths("~nobody-here/config")

    def test_an_option_wins_over_the_environment(self, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KUBECONFIG", str(write(files / "env", "")))
        option = write(files / "option", "")
        assert kubeconfig.paths(str(option)) == [option]

    def test_of_the_environments_list_absent_files_are_passed_over(
        self, files: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one, two = write(files / "1", ""), write(files / "2", "")
        monkeypatch.setenv("KUBECONFIG", f"{one}:{files / 'absent'}::{two}")
        assert kubeconfig.paths() == [one, two]

    def test_the_default_is_in_the_home(self, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("KUBECONFIG", raising=False)
        monkeypatch.setenv("HOME", str(files))
        (files / ".kube").mkdir()
        config = write(files / ".kube/config", "")
        assert kubeconfig.paths() == [config]

    def test_an_empty_variable_is_none(self, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KUBECONFIG", "")
        monkeypatch.setenv("HOME", str(files))
        assert kubeconfig.paths() == []


def test_impersonation() -> None:
    user = {"as": "bob", "as-uid": "7", "as-groups": ["dev"]}
    headers = [("Impersonate-User", "bob"), ("Impersonate-Uid", "7"), ("Impersonate-Group", "dev")]
    assert kubeconfig.impersonation(user) == headers


def test_impersonation_of_several_groups_and_of_extra_keys() -> None:
    user = {"as": "bob", "as-groups": ["dev", "ops"], "as-user-extra": {"a.com/100%": ["x", "y"], "K_1": ["z"]}}
    assert kubeconfig.impersonation(user) == [
        ("Impersonate-User", "bob"),
        ("Impersonate-Group", "dev"),
        ("Impersonate-Group", "ops"),
        ("Impersonate-Extra-a.com%2F100%25", "x"),
        ("Impersonate-Extra-a.com%2F100%25", "y"),
        ("Impersonate-Extra-K_1", "z"),
    ]


@pytest.mark.parametrize(
    "user",
    [
        "{token: 5}",
        "{tokenFile: [a]}",
        "{username: {}}",
        "{exec: [a]}",
        "{exec: {command: [a]}}",
        "{exec: {command: a, args: 3}}",
        "{exec: {command: a, args: [3]}}",
        "{exec: {command: a, env: [b]}}",
        "{exec: {command: a, env: [{name: b, value: 3}]}}",
        "{auth-provider: oidc}",
        "{auth-provider: {name: oidc, config: []}}",
        "{client-certificate-data: 3}",
        "{as-groups: dev}",
        "{as-groups: [3]}",
        "{as-user-extra: [a]}",
        "{as-user-extra: {a: b}}",
    ],
)
def test_a_user_of_other_types_is_malformed(files: Path, user: str) -> None:
    with pytest.raises(KubeconfigMissing, match="malformed"):
        kubeconfig.read([write(files / "config", f"users: [{{name: ann, user: {user}}}]")])


@pytest.mark.parametrize("cluster", ["{server: 5}", "{server: [a]}", "{extensions: {}}", "{extensions: [a]}"])
def test_a_cluster_of_other_types_is_malformed(files: Path, cluster: str) -> None:
    with pytest.raises(KubeconfigMissing, match="malformed"):
        kubeconfig.read([write(files / "config", f"clusters: [{{name: a, cluster: {cluster}}}]")])


def test_nesting_without_end_is_malformed(files: Path) -> None:
    with pytest.raises(KubeconfigMissing, match="malformed"):
        kubeconfig.read([write(files / "config", "[" * 100_000)])


@pytest.mark.parametrize("key", ["server", "proxy-url"])
@pytest.mark.parametrize("url", ["https://a.test:99999", "https://a.test:port", "https://[::1", "https://:6443"])
def test_what_is_no_url(files: Path, key: str, url: str) -> None:
    entry = {"server": "https://a.test", key: url}
    merged = {
        "current-context": "x",
        "contexts": {"x": {"cluster": "a"}},
        "clusters": {"a": entry},
        "users": {},
    }
    with pytest.raises(KubeconfigMissing, match=f"{key} of cluster a is no URL"):
        kubeconfig.select(merged)


def test_a_file_that_the_environment_names_in_vain_is_told(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(files / "nope.yaml"))
    assert kubeconfig.absence() == f"There is no kubeconfig {files / 'nope.yaml'}, which KUBECONFIG names."
    monkeypatch.setenv("KUBECONFIG", "")
    assert kubeconfig.absence() == "There is no kubeconfig."


class TestInCluster:
    @pytest.fixture(autouse=True)
    def service_account(self, files: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(kubeconfig, "SERVICE_ACCOUNT_DIR", files)
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
        write(files / "token", "t")
        write(files / "namespace", "ci\n")
        return files

    def test_is_seen(self) -> None:
        assert kubeconfig.is_in_cluster()

    def test_is_not_seen_without_a_token(self, files: Path) -> None:
        (files / "token").unlink()
        assert not kubeconfig.is_in_cluster()

    def test_is_selected_as_if_a_kubeconfig_named_it(self, files: Path) -> None:
        selection = kubeconfig.in_cluster()
        assert (selection.target.server, selection.target.namespace) == ("https://10.96.0.1:443", "ci")
        assert selection.user == {"tokenFile": str(files / "token")}

    def test_ipv6(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd96::1")
        assert kubeconfig.in_cluster("other").target.server == "https://[fd96::1]:443"
