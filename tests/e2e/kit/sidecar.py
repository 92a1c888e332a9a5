"""A service mesh as far as a pod meets it: an Envoy in each pod, which demands mutual TLS of whoever connects.

The lab's API server injects it into the pods that ask for one by Istio's label, with Istio's names, and iptables of the
node's leads their connections through it as istio-init does. There is no control plane: every member has the same
certificate, and only ports 80 of services and 8080 of pods are the mesh's.
"""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from tests.e2e.kit.admission import adding
from tests.e2e.kit.workloads import Manifest
from tests.lab import binaries
from tests.lab.certs import Authority, Client
from tests.lab.images import WORKLOAD_IMAGE

NAME = "sidecars"
INJECT = {"sidecar.istio.io/inject": "true"}
"""The label of a pod that is to have one."""
POD_PORT, SERVICE_PORT = 8080, 80
_INBOUND, _OUTBOUND, _HEALTH, _USER = 15006, 15001, 15021, 1337
_RULES = f"""\
*nat
-A PREROUTING -p tcp --dport {POD_PORT} -j REDIRECT --to-ports {_INBOUND}
-A OUTPUT -p tcp --dport {SERVICE_PORT} -m owner ! --uid-owner {_USER} -j REDIRECT --to-ports {_OUTBOUND}
COMMIT
"""
_TYPE = "type.googleapis.com/envoy.extensions"


def injection() -> list[Manifest]:
    """Give sidecars to pods that ask for them, in all namespaces that have what `configuration` makes."""
    volumes: list[Manifest] = [
        {"name": "sidecar", "secret": {"secretName": NAME}},
        {"name": "envoy", "hostPath": {"path": str(binaries.envoy().resolve())}},
        {"name": "node", "hostPath": {"path": "/"}},
    ]
    return adding(
        NAME,
        {"matchLabels": INJECT},
        ("/spec/containers/-", _cel(_proxy())),
        ("/spec/initContainers", _cel([_redirection()])),
        *(("/spec/volumes/-", _cel(one)) for one in volumes),
    )


def configuration() -> Manifest:
    """What the sidecars of a namespace read."""
    document = {
        "admin": {"address": _address(_HEALTH)},
        "static_resources": {"listeners": [_inbound(), _outbound()], "clusters": [_clear(), _mutual()]},
    }
    data = {"envoy.json": json.dumps(document)}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": NAME}, "stringData": data}


def _cel(value: Any) -> str:
    """The value as an expression of CEL, whose lists and maps have to be of one type: dyn."""
    if isinstance(value, Mapping):
        return f"dyn({{{', '.join(f'{json.dumps(key)}: {_cel(one)}' for key, one in value.items())}}})"
    if isinstance(value, list):
        return f"dyn([{', '.join(map(_cel, value))}])"
    return f"dyn({json.dumps(value)})"


def _container(name: str, command: list[str], **more: Any) -> Manifest:
    return {"name": name, "image": WORKLOAD_IMAGE, "imagePullPolicy": "IfNotPresent", "command": command, **more}


def _proxy() -> Manifest:
    mounts = [{"name": "envoy", "mountPath": "/envoy"}, {"name": "sidecar", "mountPath": "/sidecar"}]
    command = ["/envoy/envoy", "--disable-hot-restart", "-c", "/sidecar/envoy.json"]
    user = {"runAsUser": _USER, "runAsNonRoot": True}
    ready = {"httpGet": {"path": "/ready", "port": _HEALTH}, "periodSeconds": 1}
    return _container("istio-proxy", command, securityContext=user, volumeMounts=mounts, readinessProbe=ready)


def _redirection() -> Manifest:
    rules = f"chroot /node iptables-restore -w <<'END'\n{_RULES}END\n"
    rights = {"add": ["NET_ADMIN", "NET_RAW", "SYS_CHROOT"]}
    security = {"runAsUser": 0, "runAsNonRoot": False, "capabilities": rights}
    mounts = [{"name": "node", "mountPath": "/node"}]
    return _container("istio-init", ["sh", "-c", rules], securityContext=security, volumeMounts=mounts)


@cache
def _tls(of: str) -> Manifest:
    """Show a certificate of the mesh's, and demand one: `of` is "server" or "client"."""
    authority = _authority()
    certificate, key = authority.issue(Client("member"), ["member.mesh"] if of == "server" else ())
    own = {"certificate_chain": _inline(certificate), "private_key": _inline(key)}
    return {"tls_certificates": [own], "validation_context": {"trusted_ca": _inline(authority.pem)}}


@cache
def _authority() -> Authority:
    return Authority.create()


def _inline(pem: bytes) -> Manifest:
    return {"inline_string": pem.decode()}


def _socket(name: str, kind: str, common: Manifest, **more: Any) -> Manifest:
    typed = {"@type": f"{_TYPE}.transport_sockets.tls.v3.{kind}TlsContext", "common_tls_context": common, **more}
    return {"name": name, "typed_config": typed}


def _address(port: int) -> Manifest:
    return {"socket_address": {"address": "::", "port_value": port, "ipv4_compat": True}}


def _listener(name: str, port: int, **chain: Any) -> Manifest:
    """Lead connections on to where they were meant to go before they were redirected."""
    meant = {"@type": f"{_TYPE}.filters.listener.original_dst.v3.OriginalDst"}
    relay = {"@type": f"{_TYPE}.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": name, "cluster": name}
    return {
        "name": name,
        "address": _address(port),
        "listener_filters": [{"name": "original_dst", "typed_config": meant}],
        "filter_chains": [{"filters": [{"name": "relay", "typed_config": relay}], **chain}],
    }


def _inbound() -> Manifest:
    server = _socket("tls", "Downstream", _tls("server"), require_client_certificate=True)
    return _listener("inbound", _INBOUND, transport_socket=server)


def _outbound() -> Manifest:
    return _listener("outbound", _OUTBOUND)


def _cluster(name: str, **more: Any) -> Manifest:
    return {"name": name, "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": "5s", **more}


def _clear() -> Manifest:
    return _cluster("inbound")


def _mutual() -> Manifest:
    return _cluster("outbound", transport_socket=_socket("tls", "Upstream", _tls("client")))
