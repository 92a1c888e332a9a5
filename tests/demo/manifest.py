"""The demo shop's manifest for any cluster: `shop.yaml` with image, namespace and the servers' code filled in."""

import argparse
import hashlib
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
DEFAULT_IMAGE = "docker.io/library/python:3.13-slim"  # any image with python3 serves
DEFAULT_NAMESPACE = "shop"

Manifest = dict[str, Any]

POD_SECURITY = {"runAsNonRoot": True, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}}
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def shop(image: str = DEFAULT_IMAGE, namespace: str = DEFAULT_NAMESPACE) -> list[Manifest]:
    """Every object of the shop, in an order that can be applied."""
    code = (HERE / "server.py").read_text(encoding="utf-8")
    code_name = f"server-{hashlib.sha256(code.encode()).hexdigest()[:10]}"  # other code, other pods
    namespace_object, *objects = yaml.safe_load_all((HERE / "shop.yaml").read_text(encoding="utf-8"))
    namespace_object["metadata"]["name"] = namespace
    code_map: Manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": code_name},
        "data": {"server.py": code},
    }
    for manifest in [code_map, *objects]:
        manifest["metadata"]["namespace"] = namespace
        if template := manifest.get("spec", {}).get("template"):
            _complete_pod(template["spec"], image, code_name)
    return [namespace_object, code_map, *objects]


def _complete_pod(pod: Manifest, image: str, code_name: str) -> None:
    """What all the shop's pods have in common."""
    pod |= {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY,
        "terminationGracePeriodSeconds": 1,
        "volumes": [{"name": "code", "configMap": {"name": code_name}}],
    }
    for container in pod["containers"]:
        container |= {
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["python3", "/code/server.py"],
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
            "securityContext": CONTAINER_SECURITY,
            "volumeMounts": [{"name": "code", "mountPath": "/code"}],
        }


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as such, so that the servers' code stays readable, and no YAML aliases."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _Dumper.represent_text)


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the demo shop's manifest, for kubectl apply -f -")
    parser.add_argument("image", nargs="?", default=DEFAULT_IMAGE)
    parser.add_argument("namespace", nargs="?", default=DEFAULT_NAMESPACE)
    arguments = parser.parse_args()
    print(yaml.dump_all(shop(arguments.image, arguments.namespace), Dumper=_Dumper, sort_keys=False))


if __name__ == "__main__":
    main()
