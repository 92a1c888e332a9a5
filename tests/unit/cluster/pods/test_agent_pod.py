from typing import Any

from ktpy.cluster.pods.agent_pod import CONTAINER, annotations, pod_spec


def spec(**more: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "requests": {"cpu": "10m"},
        "memory_limit": "64Mi",
        "run_dir_size": "8Mi",
        "termination_grace_s": 5,
    }
    return pod_spec(image="agent:1", role="shadow", ports=[{"containerPort": 2222}], **plain | more)


def test_meshes_are_kept_away() -> None:
    assert annotations({"ktpy.dev/x": "1"}) == {
        "ktpy.dev/x": "1",
        "sidecar.istio.io/inject": "false",
        "linkerd.io/inject": "disabled",
    }


def test_it_passes_pod_security_restricted_and_has_no_token() -> None:
    made = spec()
    assert made["automountServiceAccountToken"] is False
    assert made["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    [container] = made["containers"]
    assert (container["name"], container["image"], container["args"]) == (CONTAINER, "agent:1", ["shadow"])
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {tuple(volume) for volume in made["volumes"]} == {("name", "emptyDir"), ("name", "downwardAPI")}


def test_what_a_role_has_besides() -> None:
    sysctl = {"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}
    made = spec(sysctls=[sysctl], container={"readinessProbe": {}})
    assert made["securityContext"]["sysctls"] == [sysctl]
    assert made["containers"][0]["readinessProbe"] == {}
