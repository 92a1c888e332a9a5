"""Docker on the laptop, for real: containers reach the cluster, and the agent image is built by its engine.

Its engine is Debian's, unpacked (tests/lab/docker.py). It has no registry but the one of these tests.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ktpy import __version__
from ktpy.sessions.options import DEFAULT_IMAGE
from tests.e2e.conftest import agent_image
from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.shop import NAMESPACE, Shop
from tests.kit.waiting import eventually
from tests.lab import Lab, binaries, components, images, node
from tests.lab.certs import Authority, Client
from tests.lab.docker import Docker, running
from tests.lab.laptop import LAB_BIN
from tests.lab.namespaces import stream_socket
from tests.lab.processes import die_with_parent
from tests.lab.sessions.connect import ConnectSession, connecting

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

SERVER = "198.18.0.1"
OPTIONS = (
    f"--dns {SERVER} --dns-search {NAMESPACE}.svc.cluster.local --dns-search svc.cluster.local --dns-option ndots:2"
).split()
"""As docs/connect.md has them."""
NAMES = ("web", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local")
OUTSIDE, OUTSIDE_ADDRESS = "outside.example", "192.0.2.10"
OWN_NETWORK = ("--network", "own")


@pytest.fixture(scope="module")
def docker(lab: Lab) -> Iterator[Docker]:
    with running(lab) as docker:
        docker.run("load", "--quiet", source=images.workload_image())
        docker.run("network", "create", "own")
        yield docker


@contextmanager
def container(docker: Docker, *options: str) -> Iterator[str]:
    name = docker.run("run", "--detach", *options, images.WORKLOAD_IMAGE, "sleep", "infinity").strip()
    try:
        yield name
    finally:
        docker.run("rm", "--force", name)


def addresses(docker: Docker, name: str, *names: str) -> list[str]:
    """What a container resolves names to, by glibc; an empty string where one is absent."""
    script = 'for name; do getent ahostsv4 "$name" | cut -d" " -f1 | head -n 1 | xargs -r echo -n; echo; done'
    return docker.run("exec", name, "sh", "-c", script, "sh", *names).splitlines()


def told(laptop: Laptop) -> str:
    """What doctor says of containers here."""
    findings = json.loads(laptop.output("ktpy", "doctor", "-n", NAMESPACE, "--output", "json"))["findings"]
    (found,) = (one for one in findings if one["subject"] == "containers")
    assert found["state"] == "ok"
    return str(found["seen"])


# --- containers and the cluster


@pytest.fixture(scope="module", params=["file", "systemd-resolved"])
def resolver(lab: Lab, docker: Docker, request: pytest.FixtureRequest) -> Iterator[str]:
    lab.set_resolver(request.param)
    docker.start({})  # it looks for systemd-resolved when it starts
    yield request.param
    lab.set_resolver("file")


@pytest.fixture(scope="module")
def early(docker: Docker, resolver: str) -> Iterator[str]:
    """A container that runs before `connect` does, with the options."""
    with container(docker, *OPTIONS) as name:
        yield name


@pytest.fixture(scope="module")
def connected(lab: Lab, early: str) -> Iterator[ConnectSession]:
    with connecting(lab, "--namespace", NAMESPACE) as session:
        yield session
        if session.process.poll() is None:
            session.quit()


@pytest.fixture(scope="module")
def plain(docker: Docker, connected: ConnectSession) -> Iterator[str]:
    with container(docker) as name:
        yield name


@pytest.fixture(scope="module")
def own(docker: Docker, connected: ConnectSession) -> Iterator[str]:
    """A container in a network of the user's own."""
    with container(docker, *OWN_NETWORK) as name:
        yield name


def test_addresses_of_services_and_pods_are_reached_in_every_network(
    docker: Docker, plain: str, own: str, shop: Shop
) -> None:
    pod = next(iter(shop.pods("web").values()))
    for name in (plain, own):
        for url in (f"http://{shop.service('web').ipv4}/", f"http://{pod.ipv4}:8080/"):
            assert "web greets you" in docker.run("exec", name, "curl", "-sS", "--max-time", "20", url)


def test_a_network_of_ones_own_has_the_clusters_names_by_itself(docker: Docker, own: str, shop: Shop) -> None:
    assert addresses(docker, own, *NAMES, OUTSIDE) == [shop.service("web").ipv4] * len(NAMES) + [OUTSIDE_ADDRESS]


def test_the_default_network_has_them_by_the_options(
    docker: Docker, early: str, connected: ConnectSession, shop: Shop
) -> None:
    assert addresses(docker, early, *NAMES, OUTSIDE) == [shop.service("web").ipv4] * len(NAMES) + [OUTSIDE_ADDRESS]


def test_the_default_network_has_none_without_and_doctor_says_what_to_set(
    docker: Docker, plain: str, laptop: Laptop, shop: Shop
) -> None:
    assert addresses(docker, plain, *NAMES, OUTSIDE) == [""] * len(NAMES) + [OUTSIDE_ADDRESS]
    seen, line = told(laptop).splitlines()
    assert "as those in networks of `docker network create`" in seen
    command, _, _ = line.partition(" ... ")
    assert command == f"docker run --dns {SERVER} --dns-option ndots:2"
    with container(docker, *command.split()[2:]) as name:
        assert addresses(docker, name, *NAMES, OUTSIDE) == [shop.service("web").ipv4] * len(NAMES) + [OUTSIDE_ADDRESS]


@pytest.mark.parametrize("resolver", ["systemd-resolved"], indirect=True)
def test_daemon_json_has_all_containers_ask_ktpy(
    docker: Docker, connected: ConnectSession, laptop: Laptop, shop: Shop
) -> None:
    """The last test of its resolver: it takes the other containers."""
    docker.start({"dns": [SERVER]})
    seen = told(laptop)
    assert "/etc/docker/daemon.json has them ask ktpy" in seen
    assert "docker run" not in seen
    with container(docker) as name:
        assert addresses(docker, name, *NAMES, OUTSIDE) == [shop.service("web").ipv4] * len(NAMES) + [OUTSIDE_ADDRESS]


# --- the agent image

REGISTRY = "laptop:5443"
"""By the laptop's own name: of one on `localhost` no certificate would be needed."""
LISTENS_AT = "127.0.1.1", 5443
USER, PASSWORD = "al", "pass word"
HASH = "$2b$04$dURXL.YDHpdwtG/EU7AgcOAQmmP/pydINLB8oODp4pFvmtnF5eSsO"
BASE = "docker.io/library/debian:trixie-slim"
IMAGE = f"{REGISTRY}/team/agent"
HELPER = f"""#!{sys.executable}
# Keeps logins for Docker, which asks by the protocol of credential helpers.
import json, pathlib, sys
file, said = pathlib.Path.home() / ".docker/kept.json", sys.stdin.read().strip()
kept = json.loads(file.read_text()) if file.exists() else {{}}
if sys.argv[1] == "store":
    login = json.loads(said)
    file.write_text(json.dumps(kept | {{login["ServerURL"]: login}}))
elif sys.argv[1] == "get" and said in kept:
    print(json.dumps(kept[said]))
else:
    sys.exit("credentials not found in native keychain")
"""


@pytest.fixture(scope="module")
def registry(lab: Lab, docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The registry `distribution` on the laptop, with a password, and a certificate that Docker's folder has."""
    folder = tmp_path_factory.mktemp("registry")
    authority = Authority.create()
    certificate, key = authority.issue(Client("registry"), [REGISTRY.partition(":")[0]])
    for name, content in (("tls.crt", certificate), ("tls.key", key), ("htpasswd", f"{USER}:{HASH}\n".encode())):
        (folder / name).write_bytes(content)
    tls = {"certificate": f"{folder}/tls.crt", "key": f"{folder}/tls.key"}
    settings = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": f"{folder}/data"}},
        "http": {"addr": "{}:{}".format(*LISTENS_AT), "secret": "s", "tls": tls},
        "auth": {"htpasswd": {"realm": "r", "path": f"{folder}/htpasswd"}},
    }
    (folder / "config.yml").write_text(json.dumps(settings))  # JSON is YAML
    netns = lab.layout.laptop_netns_path
    command = ["nsenter", f"--net={netns}", str(binaries.registry() / "registry"), "serve", str(folder / "config.yml")]
    trusted = f"/etc/docker/certs.d/{REGISTRY}"  # it goes with the engine
    script = f"mkdir -p {trusted} && cat > {trusted}/ca.crt"
    lab.exec(["sh", "-c", script], stdin=authority.pem.decode(), check=True)
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=die_with_parent) as process,
    ):
        try:
            assert eventually(lambda: listens(lab), timeout_s=20), (folder / "log").read_text()
            yield
        finally:
            process.kill()


def listens(lab: Lab) -> bool:
    with suppress(OSError), stream_socket(lab.layout.laptop_netns_path, LISTENS_AT, 1.0):
        return True
    return False


@pytest.fixture
def home(lab: Lab, registry: None, laptop: Laptop) -> Iterator[None]:
    """What the tests leave in the user's home goes."""
    helper = LAB_BIN / "docker-credential-lab"
    lab.exec(["sh", "-c", f"cat > {helper} && chmod 755 {helper}"], stdin=HELPER, check=True)
    yield
    lab.exec(["rm", str(helper)], check=True)
    laptop.output("sh", "-c", "rm -rf ~/.docker ~/.cache/ktpy/image")


@pytest.fixture(scope="module")
def base(docker: Docker) -> None:
    """What the image is built on: Docker here has no registry to pull it from."""
    docker.run("import", "-", BASE, source=images.self_sufficient_base_tar())


def push(laptop: Laptop, *options: str) -> "subprocess.CompletedProcess[str]":
    return laptop.run(["ktpy", "image", "push", IMAGE, "--no-remember", *options])


def log_in(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(PASSWORD)
    docker.run("login", "--username", USER, "--password-stdin", REGISTRY, source=tmp_path / "password")


def test_docker_builds_the_image_and_its_login_lets_it_into_the_registry(
    docker: Docker, laptop: Laptop, home: None, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """By its file of logins, then by a credential helper that it keeps them in."""
    no_base = push(laptop, "--builder", "docker")
    assert (no_base.returncode, no_base.stderr.count("docker build failed with exit code 1: ")) == (65, 1)
    assert "no such host" in no_base.stderr
    request.getfixturevalue("base")
    unknown = push(laptop, "--rebuild")
    assert (unknown.returncode, unknown.stderr.splitlines()[0]) == (67, "  built by docker")
    assert f"hint: Log in: docker login {REGISTRY}" in unknown.stderr

    log_in(docker, tmp_path)
    pushed = push(laptop)
    assert pushed.returncode == 0, pushed.stderr
    assert "built by" not in pushed.stderr
    assert pushed.stdout.startswith(f"{IMAGE}:{__version__} for linux/")

    laptop.output("sh", "-c", "cat > ~/.docker/config.json", stdin=json.dumps({"credsStore": "lab"}))
    log_in(docker, tmp_path)
    assert '"auth"' not in laptop.output("sh", "-c", "cat ~/.docker/config.json")
    again = push(laptop)
    assert (again.returncode, again.stderr.count("is sent")) == (0, 0), again.stderr

    pulled = f"{IMAGE}:{__version__}"
    docker.run("pull", "--quiet", pulled)
    digest = pushed.stdout.rpartition(": ")[2].strip().rstrip(".")
    assert docker.run("image", "inspect", "--format", "{{index .RepoDigests 0}}", pulled).strip() == f"{IMAGE}@{digest}"
    assert "HAProxy version" in docker.run("run", "--rm", "--entrypoint", "haproxy", pulled, "-v")


@pytest.fixture
def containerd(lab: Lab) -> Iterator[str]:
    """The address of the node's containerd, as this laptop's; it has the image of the other tests again afterwards."""
    of_node = node.record(lab.layout)
    assert of_node is not None
    yield f"/proc/{of_node.pid}/root{components.CONTAINERD_SOCKET}"
    lab.load_image(agent_image())


def test_docker_builds_what_a_containerd_of_the_laptop_is_given_and_connect_runs(
    docker: Docker, lab: Lab, laptop: Laptop, base: None, home: None, containerd: str
) -> None:
    loaded = laptop.run(["ktpy", "image", "load", "--builder", "docker", "--rebuild", "--containerd", containerd])
    assert (loaded.returncode, loaded.stderr.splitlines()[0]) == (0, "  built by docker"), loaded.stderr
    assert loaded.stdout.startswith(f"{DEFAULT_IMAGE} for linux/")
    assert loaded.stdout.endswith(f": containerd {containerd} has it.\n")
    built = docker.run("image", "inspect", "--format", "{{.Id}}", DEFAULT_IMAGE).strip()
    laptop.run(["ktpy", "quit"])  # with the image of before
    with connecting(lab, "--namespace", NAMESPACE) as session:
        state = ["get", "pod", session.status()["pod"], "--output", "jsonpath={.status.containerStatuses[0].imageID}"]
        assert lab.kubectl("--namespace", NAMESPACE, *state) == built
        session.quit()
