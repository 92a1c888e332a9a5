"""The way to the cluster: kubeconfig, API server, credentials."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.connect_errors.failing import ABSENT_HOST, failing
from tests.e2e.kit.failed_command import Kubeconfigs, encoded
from tests.e2e.kit.faults import silent_server
from tests.lab import Lab
from tests.lab.certs import Authority, Client
from tests.lab.layout import API_PORT, NODE_IPV4


class TestKubeconfig:
    def test_there_is_none(self, lab: Lab, eve: str) -> None:
        failed = failing(lab, command=["env", "-u", "KUBECONFIG", "ktpy", "connect"], user=eve)
        assert (failed.exit_code, failed.message) == (10, "There is no kubeconfig.")
        assert "--kubeconfig" in failed.hint

    def test_the_one_named_does_not_exist(self, lab: Lab) -> None:
        failed = failing(lab, kubeconfig=Path("/nowhere/config"))
        assert failed.exit_code == 10
        assert "/nowhere/config" in failed.message

    def test_of_a_list_in_the_environment_some_may_be_absent(self, lab: Lab, kubeconfigs: Kubeconfigs) -> None:
        """As with kubectl. The second is read: it has no such context."""
        env = {"KUBECONFIG": f"/nowhere/config:{kubeconfigs.changed()}"}
        failed = failing(lab, "--context", "prod", env=env)
        assert failed.exit_code == 11

    @pytest.mark.parametrize("text", ["{[", "- a\n- list\n", "clusters: 7\n", b"\xff\xfe\x00", "\x00"])
    def test_malformed(self, lab: Lab, kubeconfigs: Kubeconfigs, text: str | bytes) -> None:
        path = kubeconfigs.text(text)
        failed = failing(lab, kubeconfig=path)
        assert failed.exit_code == 10
        assert f"{path} is malformed" in failed.message

    @pytest.mark.parametrize("mode", [0o600, None], ids=["not mine", "a directory"])
    def test_unreadable(self, lab: Lab, kubeconfigs: Kubeconfigs, mode: int | None) -> None:
        path = kubeconfigs.changed()
        path.chmod(mode) if mode else (path := path.parent)
        failed = failing(lab, kubeconfig=path)
        assert failed.exit_code == 10
        assert f"{path} cannot be read" in failed.message

    def test_unknown_context(self, lab: Lab) -> None:
        failed = failing(lab, "--context", "prod")
        assert failed.exit_code == 11
        assert "no context prod" in failed.message
        assert "lab" in failed.hint


class TestApiServer:
    def test_refuses_connections(self, lab: Lab, kubeconfigs: Kubeconfigs) -> None:
        server = f"{NODE_IPV4}:1"
        failed = failing(lab, kubeconfig=kubeconfigs.changed(cluster={"server": f"https://{server}"}))
        assert failed.exit_code == 12
        assert server in failed.message
        assert "Job" not in failed.output  # there was none
        assert "refused" in failed.message

    def test_does_not_answer(self, lab: Lab, kubeconfigs: Kubeconfigs) -> None:
        """Nobody at the address; and somebody who takes the connection and then says nothing."""
        with silent_server(lab.layout.node_netns_path) as port:
            servers = [f"{ABSENT_HOST}:{API_PORT}", f"{NODE_IPV4}:{port}"]
            paths = [kubeconfigs.changed(cluster={"server": f"https://{server}"}) for server in servers]
            with ThreadPoolExecutor() as pool:
                attempts = list(pool.map(lambda path: failing(lab, kubeconfig=path, within_s=60), paths))
        for failed, server in zip(attempts, servers, strict=True):
            assert failed.exit_code == 12
            assert server in failed.message

    def test_has_no_address(self, lab: Lab, kubeconfigs: Kubeconfigs) -> None:
        failed = failing(lab, kubeconfig=kubeconfigs.changed(cluster={"server": "https://nowhere.example:6443"}))
        assert failed.exit_code == 12
        assert "nowhere.example" in failed.message

    def test_has_a_certificate_of_somebody_else(self, lab: Lab, kubeconfigs: Kubeconfigs) -> None:
        other = encoded(Authority.create().pem)
        failed = failing(lab, kubeconfig=kubeconfigs.changed(cluster={"certificate-authority-data": other}))
        assert failed.exit_code == 12
        assert "not trusted" in failed.message
        assert "certificate-authority-data" in failed.hint


class TestCredentials:
    def test_wrong_token(self, lab: Lab, kubeconfigs: Kubeconfigs) -> None:
        failed = failing(lab, kubeconfig=kubeconfigs.changed(user={"token": "wrong"}))
        assert failed.exit_code == 13
        assert "does not accept the credentials" in failed.message

    def test_certificate_of_another_cluster(self, lab: Lab, kubeconfigs: Kubeconfigs) -> None:
        certificate, key = Authority.create().issue(Client("mallory", ("system:masters",)))
        user = {"client-certificate-data": encoded(certificate), "client-key-data": encoded(key)}
        failed = failing(lab, kubeconfig=kubeconfigs.changed(user=user))
        assert failed.exit_code == 13

    def test_none_at_all(self, lab: Lab, kubeconfigs: Kubeconfigs) -> None:
        failed = failing(lab, kubeconfig=kubeconfigs.changed(user={}))
        assert failed.exit_code == 13
        assert "sees no credentials" in failed.message

    @pytest.mark.parametrize(
        ("command", "said"),
        [
            (["sh", "-c", "echo log in first >&2; exit 3"], "log in first"),
            (["absent-plugin"], "absent-plugin"),
            (["echo", "no JSON"], "echo"),
        ],
        ids=["fails", "absent", "says nonsense"],
    )
    def test_plugin(self, lab: Lab, kubeconfigs: Kubeconfigs, command: list[str], said: str) -> None:
        plugin = {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": command[0],
            "args": command[1:],
            "interactiveMode": "Never",
        }
        failed = failing(lab, kubeconfig=kubeconfigs.changed(user={"exec": plugin}))
        assert failed.exit_code == 13
        assert said in failed.message + failed.hint
