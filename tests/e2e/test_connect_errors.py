"""Everything that can keep `ktpy connect` from connecting: it says what is wrong and what to do next, soon.

Each failure has its own exit code, and leaves nothing behind: the laptop's network is compared byte for byte, and the
namespace must have no Job of ktpy's.
"""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.attempts import Attempt, Kubeconfigs, attempt, encoded
from tests.e2e.faults import silent_server, stranger
from tests.e2e.laptop import Laptop
from tests.e2e.sessions import connecting
from tests.lab import Lab
from tests.lab.certs import Authority, Client
from tests.lab.images import COREDNS_IMAGE
from tests.lab.layout import API_PORT, NODE_IPV4
from tests.lab.processes import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

NAMESPACE = "errors"
SOON_S = 8.0
ABSENT_HOST = "10.99.0.77"


def api_object(kind: str, name: str, **parts: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **parts}


@contextmanager
def applied(lab: Lab, *objects: dict[str, Any]) -> Iterator[None]:
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    lab.kubectl("-n", NAMESPACE, "apply", "-f", "-", stdin=manifest)
    try:
        yield
    finally:
        lab.kubectl("-n", NAMESPACE, "delete", "-f", "-", stdin=manifest)


@pytest.fixture(scope="module", autouse=True)
def _namespace(lab: Lab) -> Iterator[None]:
    namespace = api_object("Namespace", NAMESPACE)
    namespace["metadata"]["labels"] = {"pod-security.kubernetes.io/enforce": "restricted"}
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(namespace))
    yield
    lab.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture(scope="module")
def kubeconfigs(lab: Lab) -> Kubeconfigs:
    return Kubeconfigs(lab, "errors")


@pytest.fixture(scope="module")
def eve(lab: Lab) -> Iterator[str]:
    with stranger(lab) as name:
        yield name


@pytest.fixture(autouse=True)
def _nothing_is_left(lab: Lab, laptop: Laptop) -> Iterator[None]:
    before = laptop.network_state()
    yield
    assert laptop.network_state() == before
    assert lab.api.get(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs")["items"] == []
    assert lab.exec(["find", "/var/lib/ktpy/journal", "-type", "f"]).stdout == ""


def failing(lab: Lab, *options: str, within_s: float = SOON_S, **how: Any) -> Attempt:
    failed = attempt(lab, "--namespace", NAMESPACE, *options, **how)
    assert failed.took_s < within_s, failed.output
    return failed


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
                attempts = list(pool.map(lambda path: failing(lab, kubeconfig=path, within_s=18), paths))
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


class TestNamespace:
    def test_no_rights(self, lab: Lab) -> None:
        """Which refusal comes first is chance: the pods are watched while the Job is created."""
        failed = failing(lab, kubeconfig=lab.kubeconfig("nobody@example.org"))
        assert failed.exit_code == 14
        missing = {
            f"nobody@example.org may not {action} in namespace {NAMESPACE}.": rule
            for action, rule in (
                ("create jobs.batch", {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]}),
                ("list pods", {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}),
            )
        }
        assert yaml.safe_load(failed.hint.partition("\n")[2]) == [missing[failed.message]]

    def test_absent(self, lab: Lab) -> None:
        failed = attempt(lab, "--namespace", "absent")
        assert (failed.exit_code, failed.message) == (15, "Namespace absent does not exist.")

    def test_no_name_for_one(self, lab: Lab) -> None:
        assert attempt(lab, "--namespace", "../x").exit_code in (2, 15, 16)


class TestPod:
    def test_no_node_takes_it(self, lab: Lab) -> None:
        node = lab.kubectl("get", "nodes", "-o", "name").strip()
        lab.kubectl("cordon", node)
        try:
            failed = failing(lab, within_s=15)
        finally:
            lab.kubectl("uncordon", node)
        assert failed.exit_code == 20
        assert "0/1 nodes are available" in failed.message

    @pytest.mark.parametrize("image", ["registry.invalid/none:1", "Not An Image"])
    def test_its_image_cannot_be_pulled(self, lab: Lab, image: str) -> None:
        failed = failing(lab, "--image", image, within_s=15)
        assert failed.exit_code == 21
        assert image in failed.message + failed.hint
        assert "--image" in failed.hint

    def test_quota(self, lab: Lab) -> None:
        with applied(lab, api_object("ResourceQuota", "small", spec={"hard": {"requests.memory": "1Mi"}})):
            failed = failing(lab)
        assert failed.exit_code == 22
        assert "exceeded quota: small" in failed.message

    def test_limit_range(self, lab: Lab) -> None:
        limits = [{"type": "Container", "max": {"memory": "1Mi"}}]
        with applied(lab, api_object("LimitRange", "tight", spec={"limits": limits})):
            failed = failing(lab)
        assert failed.exit_code == 22
        assert "memory" in failed.message

    def test_a_policy_refuses_it(self, lab: Lab) -> None:
        group = "admissionregistration.k8s.io/v1"
        rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["*"]}
        selector = {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}
        policy = api_object(
            "ValidatingAdmissionPolicy",
            "ktpy-errors",
            spec={
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [rule], "namespaceSelector": selector},
                "validations": [{"expression": "object.kind == 'Event'", "message": "only on weekdays"}],
            },
        )
        binding = api_object(
            "ValidatingAdmissionPolicyBinding",
            "ktpy-errors",
            spec={"policyName": "ktpy-errors", "validationActions": ["Deny"]},
        )
        trial = ["kubectl", "-n", NAMESPACE, "create", "configmap", "trial", "--dry-run=server"]
        with applied(lab, policy | {"apiVersion": group}, binding | {"apiVersion": group}):
            wait_until(lambda: "only on weekdays" in lab.exec(trial).stderr, 20, "the policy to be in force")
            failed = failing(lab)
        wait_until(lambda: lab.exec(trial).returncode == 0, 20, "the policy to be forgotten by the API server")
        assert failed.exit_code == 23
        assert "only on weekdays" in failed.message

    def test_it_is_not_ready_in_time(self, lab: Lab) -> None:
        with silent_server(lab.layout.node_netns_path) as registry:
            failed = failing(lab, "--image", f"{NODE_IPV4}:{registry}/slow:1", "--pod-timeout", "3")
        assert failed.exit_code == 24
        assert "within 3 s: " in failed.message
        assert "--pod-timeout" in failed.hint

    def test_it_fails(self, lab: Lab) -> None:
        failed = failing(lab, "--image", COREDNS_IMAGE, within_s=15)
        assert failed.exit_code == 25
        assert "will run as root" in failed.message


class TestLaptop:
    @pytest.fixture
    def local_network(self, lab: Lab) -> Iterator[str]:
        """A network of the laptop's own inside the cluster's service range."""
        link = "home0"
        lab.exec(["ip", "link", "add", link, "type", "veth", "peer", "name", "home1"], check=True)
        try:
            lab.exec(["ip", "address", "add", "10.96.5.1/24", "dev", link], check=True)
            lab.exec(["ip", "link", "set", link, "up"], check=True)
            yield link
        finally:
            lab.exec(["ip", "link", "delete", link], check=True)

    def test_a_range_overlaps(self, lab: Lab, local_network: str) -> None:
        failed = failing(lab)
        assert failed.exit_code == 30
        assert f"10.96.5.0/24 on {local_network}" in failed.message
        assert "--exclude 10.96.5.0/24" in failed.hint
        assert "--include 10.96.5.0/24" in failed.hint

    def test_an_overlap_that_is_excluded(self, lab: Lab, laptop: Laptop, local_network: str) -> None:
        with connecting(lab, "--namespace", NAMESPACE, "--exclude", "10.96.5.0/24") as session:
            assert local_network in laptop.output("ip", "route", "get", "10.96.5.7")
            assert "dev ktpy" in laptop.output("ip", "route", "get", "10.96.6.7")
            session.quit()

    def test_a_second_connect(self, lab: Lab) -> None:
        with connecting(lab, "--namespace", NAMESPACE) as first:
            failed = failing(lab)
            assert failed.exit_code == 31
            assert f"https://{NODE_IPV4}:{API_PORT}" in failed.message
            assert "ktpy quit" in failed.hint
            assert first.status()["state"] == "connected"
            first.quit()

    def test_no_tun_device(self, lab: Lab) -> None:
        without = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/net && exec ktpy connect "$@"', "sh"]
        failed = failing(lab, command=without, user="root")
        assert failed.exit_code == 32
        assert "no TUN device" in failed.message
        assert "modprobe tun" in failed.hint

    def test_a_device_that_is_no_tun(self, lab: Lab) -> None:
        instead = 'mount --bind /dev/null /dev/net/tun && exec ktpy connect "$@"'
        failed = failing(lab, command=["unshare", "--mount", "sh", "-c", instead, "sh"], user="root")
        assert failed.exit_code == 32

    def test_sudo_refuses(self, lab: Lab, eve: str, kubeconfigs: Kubeconfigs) -> None:
        failed = failing(lab, command=["ktpy", "connect"], user=eve, kubeconfig=kubeconfigs.changed())
        assert failed.exit_code == 33
        assert "sudo refuses" in failed.message
        assert "sudo ktpy connect" in failed.hint

    def test_no_sudo(self, lab: Lab) -> None:
        ktpy = lab.exec(["sh", "-c", "command -v ktpy"], check=True).stdout.strip()
        failed = failing(lab, command=["env", f"PATH={Path(ktpy).parent}", ktpy, "connect"])
        assert failed.exit_code == 33
        assert "no sudo" in failed.message

    def test_quit_when_not_connected(self, lab: Lab) -> None:
        assert attempt(lab, command=["ktpy", "quit"]).exit_code == 36


class TestResolver:
    @contextmanager
    def mounted(self, lab: Lab, *options: str) -> Iterator[None]:
        """Another file over /etc/resolv.conf, from the machine's disk."""
        source = lab.state_dir / "resolv.conf"
        source.write_text(lab.exec(["cat", "/etc/resolv.conf"]).stdout)
        lab.exec(["mount", "--bind", str(source), "/etc/resolv.conf"], check=True)
        try:
            if options:
                lab.exec(["mount", *options, "/etc/resolv.conf"], check=True)
            yield
        finally:
            lab.exec(["umount", "/etc/resolv.conf"], check=True)
            source.unlink()

    def test_read_only(self, lab: Lab) -> None:
        with self.mounted(lab, "-o", "remount,bind,ro"):
            failed = failing(lab)
        assert failed.exit_code == 34
        assert "read-only file system" in failed.message
        assert "--no-dns" in failed.hint

    def test_immutable(self, lab: Lab) -> None:
        with self.mounted(lab):
            if lab.exec(["chattr", "+i", "/etc/resolv.conf"]).returncode != 0:
                pytest.skip("neither this machine's file system nor its rights know chattr +i")
            try:
                failed = failing(lab)
            finally:
                lab.exec(["chattr", "-i", "/etc/resolv.conf"], check=True)
        assert failed.exit_code == 34
        assert "chattr +i" in failed.message
        assert "chattr -i" in failed.hint

    def test_the_way_out_that_the_hint_names(self, lab: Lab) -> None:
        read_only, options = self.mounted(lab, "-o", "remount,bind,ro"), ("--namespace", NAMESPACE, "--no-dns")
        with read_only, connecting(lab, *options) as session:
            assert session.status()["dns"] is None
            session.quit()


@pytest.mark.parametrize(
    "options",
    [
        ["--include", "10.96.0.0/33"],
        ["--exclude", "somewhere"],
        ["--pod-timeout", "0"],
        ["--pod-timeout", "soon"],
        ["--no-such-option"],
        ["argument"],
    ],
    ids=" ".join,
)
def test_wrong_usage(lab: Lab, options: Sequence[str]) -> None:
    done = lab.exec(["sudo", "ktpy", "connect", *options], user="dev")
    assert done.returncode == 2
    assert "Usage: ktpy connect" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_environment_variable_is_checked_like_its_option(lab: Lab) -> None:
    done = lab.exec(["ktpy", "connect"], user="dev", env={"KTPY_INCLUDE": "somewhere"})
    assert done.returncode == 2
    assert "somewhere" in done.stderr


@pytest.mark.parametrize("verbosity", [[], ["-v"], ["-vv"]], ids=["", "-v", "-vv"])
def test_a_traceback_is_for_those_who_ask(lab: Lab, kubeconfigs: Kubeconfigs, verbosity: list[str]) -> None:
    path = kubeconfigs.changed(cluster={"server": f"https://{NODE_IPV4}:1"})
    done = lab.exec(["sudo", "ktpy", "connect", *verbosity, "--kubeconfig", str(path)], user="dev")
    assert done.returncode == 12
    assert ("Traceback" in done.stderr) == ("-vv" in verbosity)


def test_detached_it_fails_as_in_the_foreground(lab: Lab) -> None:
    failed = failing(lab, "--detach", "--image", "Not An Image", within_s=15)
    assert failed.exit_code == 21


def test_a_session_is_not_harmed_by_another_that_fails(lab: Lab, kubeconfigs: Kubeconfigs) -> None:
    with connecting(lab, "--namespace", NAMESPACE) as session:
        path = kubeconfigs.changed(cluster={"server": f"https://localhost:{API_PORT}"})
        assert failing(lab, kubeconfig=path).exit_code == 12
        assert session.status()["state"] == "connected"
        session.quit()
