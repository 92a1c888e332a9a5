"""`ktpy env`: what a pod of ktpy's is given is what the workload's own pod is given."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from ktpy.cluster import rbac
from tests.e2e.kit.failed_command import Attempt, attempt
from tests.e2e.kit.rights import granted
from tests.e2e.kit.workloads import container, deployment, namespace, service
from tests.lab import Lab
from tests.lab.layout import NODE_NAME

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

NAMESPACE = "clothes"
USER = "alice@example.org"
OF_THE_IMAGE = {"PATH", "HOME", "HOSTNAME"}
OF_THE_POD = {"POD_NAME", "POD_IP"}
"""They are the shadow pod's own."""
LINES = "one\ntwo 'three' $FOUR \\five\n"
OVERLAY = "/home/dev/overlay.yaml"
LABELS = {"restricted": {"pod-security.kubernetes.io/enforce": "restricted"}}


def field(path: str) -> dict[str, Any]:
    return {"valueFrom": {"fieldRef": {"fieldPath": path}}}


def orders() -> dict[str, Any]:
    """A service whose pods are told everything that a pod can be told."""
    one = container("main", "sleep", "infinity")
    one["resources"]["limits"] = {"memory": "48Mi"}
    one["envFrom"] = [
        {"configMapRef": {"name": "settings"}},
        {"secretRef": {"name": "keys"}, "prefix": "KEY_"},
        {"configMapRef": {"name": "absent", "optional": True}},
    ]
    one["env"] = [
        {"name": "COLOUR", "value": "red"},
        {"name": "LINES", "value": LINES},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "db"}}},
        {"name": "URL", "value": "postgres://orders:$(PASSWORD)@db/$(COLOUR)"},
        {"name": "POD_NAME", **field("metadata.name")},
        {"name": "POD_IP", **field("status.podIP")},
        {"name": "APP", **field("metadata.labels['app']")},
        {"name": "NAMESPACE", **field("metadata.namespace")},
        {"name": "ACCOUNT", **field("spec.serviceAccountName")},
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}}},
        {"name": "LD_PRELOAD", "value": "/nowhere/lib.so"},
        {"name": "PYTHONPATH", "value": "/nowhere"},
        {"name": "KTPY_IDLE_S", "value": "soon"},
    ]
    made = deployment("orders", one)
    del made["spec"]["template"]["spec"]["enableServiceLinks"]
    one["volumeMounts"] = [
        {"name": "settings", "mountPath": "/etc/orders"},
        {"name": "settings", "mountPath": "/srv/one/size", "subPath": "SIZE"},
        {"name": "keys", "mountPath": "/keys"},
        {"name": "scratch", "mountPath": "/var/cache/orders"},
    ]
    made["spec"]["template"]["spec"] |= {
        "serviceAccountName": "clerk",
        "automountServiceAccountToken": True,
        "volumes": [
            {"name": "settings", "configMap": {"name": "settings"}},
            {"name": "keys", "secret": {"secretName": "keys", "defaultMode": 0o400}},
            {"name": "scratch", "emptyDir": {}},
        ],
    }
    return made


@pytest.fixture(scope="module")
def shop(lab: Lab) -> Iterator[str]:
    two = deployment("two", container("main", "sleep", "infinity"), container("other", "sleep", "infinity"))
    broken = deployment("broken", container("main", "sleep", "infinity"))
    wrong = {"name": "X", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "nokey"}}}
    broken["spec"]["template"]["spec"]["containers"][0]["env"] = [wrong]
    lost = deployment("lost", container("main", "sleep", "infinity"))
    lost["spec"]["template"]["spec"]["volumes"] = [{"name": "x", "secret": {"secretName": "nowhere"}}]
    lost["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = [{"name": "x", "mountPath": "/x"}]
    lost["spec"]["replicas"] = broken["spec"]["replicas"] = two["spec"]["replicas"] = 0
    alone = {"accessModes": ["ReadWriteOncePod"], "resources": {"requests": {"storage": "1Mi"}}}
    holder = deployment("holder", container("main", "true"))["spec"]["template"]
    holder["metadata"]["name"] = "holder"
    holder["spec"] |= {
        "nodeName": NODE_NAME,
        "volumes": [{"name": "x", "persistentVolumeClaim": {"claimName": "alone"}}],
    }
    holder["spec"]["containers"][0]["volumeMounts"] = [{"name": "x", "mountPath": "/x"}]
    objects = [
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "alone"}, "spec": alone},
        {"apiVersion": "v1", "kind": "Pod", **holder},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "clerk"}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "settings"},
            "data": {"COLOUR": "blue", "SIZE": "7"},
        },
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"db": "s3cret"}},
        service("orders", {"name": "http", "port": 80}),
        orders(),
        two,
        broken,
        lost,
    ]
    with namespace(lab, NAMESPACE, *objects, labels=LABELS["restricted"]) as made:
        yield made


def env(lab: Lab, *arguments: str, **how: Any) -> str:
    done = lab.exec(["ktpy", "env", *arguments, "-n", NAMESPACE], user="dev", **how)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(lab: Lab, *arguments: str, **how: Any) -> Attempt:
    return attempt(lab, *arguments, "-n", NAMESPACE, command=("ktpy", "env"), **how)


def of_the_real_pod(lab: Lab) -> dict[str, str]:
    text = lab.kubectl("-n", NAMESPACE, "exec", "deploy/orders", "--", "cat", "/proc/1/environ")
    return dict(item.split("=", 1) for item in text.split("\0") if item)


def jobs(lab: Lab) -> str:
    return lab.kubectl("-n", NAMESPACE, "get", "jobs", "-o", "name")


def test_it_is_what_the_workloads_own_pod_has(lab: Lab, shop: str) -> None:
    """With the documented rights, which know neither Secrets nor exec, and under Pod Security `restricted`."""
    kubeconfig = lab.kubeconfig(USER)
    with granted(lab, rbac.manifest(NAMESPACE, USER, whole_cluster=False, run=True)):
        told = json.loads(env(lab, "orders", "--output", "json", "--kubeconfig", str(kubeconfig)))
    found, real = told["environment"], of_the_real_pod(lab)
    different = {name for name in found.keys() | real.keys() if found.get(name) != real.get(name)}
    assert different == OF_THE_IMAGE | OF_THE_POD
    assert re.fullmatch(r"ktpy-shadow-.*", found["POD_NAME"])
    assert (told["workload"], told["container"]) == ("deployment/orders", "main")
    assert told["secret_names"] == ["KEY_db", "PASSWORD", "URL"]
    assert jobs(lab) == ""


def test_from_a_pod_that_runs_it_is_to_the_byte_where_exec_is_allowed(lab: Lab, shop: str) -> None:
    kubeconfig = str(lab.kubeconfig(USER))
    words = ("orders", "--from-pod", "--kubeconfig", kubeconfig)
    with granted(lab, rbac.manifest(NAMESPACE, USER, whole_cluster=False, run=True)):
        forbidden = refused(lab, *words)
    assert (forbidden.exit_code, "pods/exec" in forbidden.message) == (14, True)
    assert f"ktpy rbac {NAMESPACE} {USER} --run --from-pod" in forbidden.hint
    with granted(lab, rbac.manifest(NAMESPACE, USER, whole_cluster=False, run=True, from_pod=True)):
        told = json.loads(env(lab, *words, "--output", "json"))
        program = ["ktpy", "run", *words, "-n", NAMESPACE, "--", "sh", "-c", 'echo "$URL" $POD_NAME']
        done = lab.exec(program, user="dev")
    assert told["environment"] == of_the_real_pod(lab)
    assert told["pod"].startswith("orders-")
    assert {"PASSWORD", "URL", "KEY_db"} <= set(told["secret_names"])
    assert done.stdout.startswith("postgres://orders:s3cret@db/red ktpy-shadow-"), done.stderr


def test_a_shell_takes_it(lab: Lab, shop: str) -> None:
    script = f'eval "$(ktpy env svc/orders -n {NAMESPACE})"; printf %s "$LINES$URL"'
    done = lab.exec(["sh", "-c", script], user="dev")
    assert done.stdout == f"{LINES}postgres://orders:s3cret@db/red"


def test_bad_input(lab: Lab, shop: str) -> None:
    absent = refused(lab, "nothing")
    assert (absent.exit_code, "There is no deployment" in absent.message) == (50, True)
    several = refused(lab, "two")
    assert (several.exit_code, "2 containers (main, other)" in several.message) == (51, True)
    assert refused(lab, "two", "-c", "third").exit_code == 50
    broken = refused(lab, "broken")
    assert (broken.exit_code, "couldn't find key nokey in Secret" in broken.message) == (25, True)
    assert jobs(lab) == ""


def test_a_program_runs_in_it(lab: Lab, shop: str) -> None:
    """It has the pod's name, too, and its host name stands for the pod's address."""
    script = (
        'printf "%s|" "$URL" "$SIZE" "$PATH" "$HOME" "$(hostname)" "$(getent ahosts $(hostname))" "$POD_IP" "$MORE"'
    )
    words = ["ktpy", "run", "orders", "-n", NAMESPACE, "-e", "MORE=1", "--unset", "SIZE", "--", "sh", "-c", script]
    done = lab.exec(words, user="dev")
    assert done.returncode == 0, done.stderr
    url, size, path, home, host_name, hosts, address, more, _ = done.stdout.split("|")
    assert (url, size, more) == ("postgres://orders:s3cret@db/red", "", "1")
    assert ("/usr/bin" in path, home) == (True, "/home/dev")
    assert host_name.startswith("ktpy-shadow-")
    assert hosts.split()[0] == address


def test_what_a_run_would_make_is_a_manifest_that_the_api_server_takes(lab: Lab, shop: str) -> None:
    printed = lab.exec(["ktpy", "run", "orders", "-n", NAMESPACE, "--print-only"], user="dev")
    assert printed.returncode == 0, printed.stderr
    assert "secret/keys, key db" in printed.stdout
    tried = lab.kubectl("apply", "--dry-run=server", "-f", "-", stdin=printed.stdout)
    assert re.fullmatch(r"job.batch/ktpy-shadow-\S+ created \(server dry run\)\n", tried)
    assert jobs(lab) == ""


SEES = """
import json, os, ssl, subprocess, time, urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
trusted = ssl.create_default_context(cafile=ACCOUNT / "ca.crt")
host = os.environ["KUBERNETES_SERVICE_HOST"]
review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
question = urllib.request.Request(
    f"https://{host}:{os.environ['KUBERNETES_SERVICE_PORT']}/apis/authentication.k8s.io/v1/selfsubjectreviews",
    json.dumps(review).encode(),
    {"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}", "Content-Type": "application/json"},
)
with urllib.request.urlopen(question, context=trusted, timeout=10) as answer:
    who = json.load(answer)["status"]["userInfo"]["username"]
whoami = ["kubectl", "auth", "whoami", "--output", "jsonpath={.status.userInfo.username}"]
without_kubeconfig = os.environ | {"HOME": "/nowhere", "KUBECONFIG": ""}
Path("/var/cache/orders/x").write_text("scratch")
refused = False
try:
    Path("/etc/orders/new").touch()
except OSError:
    refused = True
print(json.dumps({
    "who": [who, subprocess.run(whoami, env=without_kubeconfig, capture_output=True, text=True).stdout],
    "namespace": (ACCOUNT / "namespace").read_text(),
    "colour": Path("/etc/orders/COLOUR").read_text(),
    "size": Path("/srv/one/size").read_text(),
    "key": [Path("/keys/db").read_text(), oct(Path("/keys/db").stat().st_mode & 0o777)],
    "refused": refused,
    "home": Path.home().is_dir(),
}), flush=True)
deadline = time.monotonic() + 100
while Path("/etc/orders/COLOUR").read_text() == "blue" and time.monotonic() < deadline:
    time.sleep(0.1)
print(Path("/etc/orders/COLOUR").read_text(), flush=True)
"""


def test_its_files_are_at_the_pods_own_paths_and_follow_and_it_is_the_service_account(lab: Lab, shop: str) -> None:
    """Folders and files that the laptop does not have, in folders of root's, and in one at its root. A client library
    of Go's finds its account, too, in a static binary."""
    command = ["ktpy", "run", "orders", "-n", NAMESPACE, "--", "python3", "-c", SEES]
    program = lab.popen(command, user="dev", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert program.stdout
    assert program.stderr
    try:
        seen = json.loads(program.stdout.readline() or program.communicate()[1])
        assert seen == {
            "who": [f"system:serviceaccount:{NAMESPACE}:clerk"] * 2,
            "namespace": NAMESPACE,
            "colour": "blue",
            "size": "7",
            "key": ["s3cret", "0o400"],
            "refused": True,
            "home": True,
        }
        lab.kubectl("-n", NAMESPACE, "patch", "configmap", "settings", "-p", '{"data": {"COLOUR": "green"}}')
        # The kubelet looks at once when the pod is updated, else within its sync period.
        lab.kubectl(
            "-n", NAMESPACE, "annotate", "pod", "-l", "ktpy.dev/role=shadow", "touched=1"
        )  # others may be ending
        assert program.stdout.readline() == "green\n"
        assert program.wait(60) == 0, program.stderr.read()
    finally:
        program.kill()
        program.wait()


PROXIED = """
account=$KTPY_ROOT/var/run/secrets/kubernetes.io/serviceaccount
printf '%s|' "$URL" "$(cat $KTPY_ROOT/srv/one/size)" "$(stat -Lc %a $KTPY_ROOT/keys/db)" "$KTPY_ROOT"
curl -sS --cacert $account/ca.crt -H "Authorization: Bearer $(cat $account/token)" -H 'Content-Type: application/json' \
    -d '{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}' \
    https://$KUBERNETES_SERVICE_HOST/apis/authentication.k8s.io/v1/selfsubjectreviews
"""


def test_without_namespaces_the_files_are_in_a_folder(lab: Lab, shop: str) -> None:
    command = ["ktpy", "run", "svc/orders", "-n", NAMESPACE, "--mode", "proxy", "--", "sh", "-c", PROXIED]
    done = lab.exec(command, user="dev")
    assert done.returncode == 0, done.stderr
    url, size, mode, root, answer = done.stdout.split("|")
    assert (url, size, mode) == ("postgres://orders:s3cret@db/red", "7", "400")
    assert json.loads(answer)["status"]["userInfo"]["username"] == f"system:serviceaccount:{NAMESPACE}:clerk"
    assert lab.exec(["test", "-e", root], user="dev").returncode == 1
    assert jobs(lab) == ""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nothing", "--", "true"), 50, "There is no deployment"),
        (("two", "--", "true"), 51, "2 containers (main, other)"),
        (("lost", "--", "true"), 25, "there is no secret nowhere"),
        (("pod/holder", "--", "true"), 52, "Claim alone is for one pod alone, and holder has it"),
        (("orders", "--pod-overlay", OVERLAY, "--", "true"), 23, "Pod Security"),
        (("orders", "--", "no-such-program"), 127, "There is no program no-such-program"),
    ],
)
def test_bad_input_of_run(lab: Lab, shop: str, words: tuple[str, ...], code: int, said: str) -> None:
    lab.exec(["sh", "-c", f"echo 'spec: {{hostPID: true}}' > {OVERLAY}"], user="dev", check=True)
    refused = attempt(lab, *words, command=("ktpy", "run", "-n", NAMESPACE))
    assert (refused.exit_code, said in refused.message) == (code, True), refused
    assert jobs(lab) == ""
