"""What runs on the node: each component's command line and configuration. Pure: it renders, others write and run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_network

from tests.lab.debian import SYSTEM_PATH
from tests.lab.images import PAUSE_IMAGE
from tests.lab.layout import (
    API_PORT,
    CLUSTER_DNS_IPV4,
    CLUSTER_DOMAIN,
    CLUSTER_IPV4,
    CLUSTER_IPV6,
    LAST_POD,
    NODE_IPV4,
    NODE_IPV6,
    NODE_NAME,
    POD_IPV4,
    POD_IPV6,
    RESOLVER_IPV4,
    SERVICE_IPV4,
    SERVICE_IPV6,
    Layout,
)
from tests.lab.variant import Variant

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"  # in the node's private /run
CNI_BINARIES = "/usr/lib/cni"
GATEWAY = ("ingress", "edge")
"""The Gateway that is served where there is a controller, by namespace and name: it is for tests to make."""


class Gate(Enum):
    """What must answer before a component is worth starting."""

    NONE = "none"
    CONTAINERD = "containerd"
    API = "api"


@dataclass(frozen=True)
class Component:
    """A program that runs for as long as the node does; it is started again when it ends."""

    name: str
    command: tuple[str, ...]
    gate: Gate = Gate.NONE


def program_path(layout: Layout) -> str:
    """PATH on the node; a lab that has the machine's own containerd has nothing in the first folder."""
    return f"{layout.runtime_dir}:{layout.bin_dir}:{SYSTEM_PATH}"


def components(layout: Layout, variant: Variant) -> list[Component]:
    binaries, pki, node = layout.bin_dir, layout.pki_dir, layout.node_dir
    service_ranges = f"{SERVICE_IPV4},{SERVICE_IPV6}"

    def control_plane(name: str) -> list[str]:
        kubeconfig = pki / f"{name}.kubeconfig"
        return [
            str(binaries / name),
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        ]

    etcd = [
        str(binaries / "etcd"),
        f"--data-dir={node}/etcd",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=default=http://127.0.0.1:2380",
        "--unsafe-no-fsync",  # a lab may lose its last second, and should not wear the disk
    ]
    api_server = [
        str(binaries / "kube-apiserver"),
        "--etcd-servers=http://127.0.0.1:2379",
        f"--advertise-address={NODE_IPV4}",
        "--bind-address=::",
        f"--secure-port={API_PORT}",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--client-ca-file={pki}/ca.crt",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet-client.key",
        "--kubelet-preferred-address-types=InternalIP",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--service-cluster-ip-range={service_ranges}",
        f"--service-account-key-file={pki}/service-account.pub",
        f"--service-account-signing-key-file={pki}/service-account.key",
        f"--service-account-issuer=https://kubernetes.default.svc.{CLUSTER_DOMAIN}",
        "--allow-privileged=true",
        f"--feature-gates={variant.feature_gates}",
    ]
    controller_manager = [
        *control_plane("kube-controller-manager"),
        "--use-service-account-credentials",
        f"--service-account-private-key-file={pki}/service-account.key",
        f"--root-ca-file={pki}/ca.crt",
        f"--cluster-signing-cert-file={pki}/ca.crt",
        f"--cluster-signing-key-file={pki}/ca.key",
        "--allocate-node-cidrs=true",
        f"--cluster-cidr={CLUSTER_IPV4},{CLUSTER_IPV6}",  # the one node gets the first block of each
        f"--service-cluster-ip-range={service_ranges}",
        "--horizontal-pod-autoscaler-sync-period=1s",
    ]
    kubelet = [
        str(binaries / "kubelet"),
        f"--config={node}/kubelet.json",
        f"--kubeconfig={pki}/kubelet.kubeconfig",
        "--root-dir=/var/lib/kubelet",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={NODE_IPV4},{NODE_IPV6}",
    ]
    policies = (str(layout.policies_program), str(layout.admin_kubeconfig), NODE_NAME)
    engine = [Component("network-policies", policies, Gate.API)] if variant.network_policies == "enforced" else []
    outside = _ways_in(layout) if variant.ingress == "contour" else []
    return [
        Component("etcd", tuple(etcd)),
        Component("containerd", ("containerd", "--config", f"{node}/containerd.toml")),
        Component("kube-apiserver", tuple(api_server)),
        Component("kube-controller-manager", tuple(controller_manager), Gate.API),
        Component("kube-scheduler", tuple(control_plane("kube-scheduler")), Gate.API),
        Component("kubelet", tuple(kubelet), Gate.CONTAINERD),
        Component("kube-proxy", (str(binaries / "kube-proxy"), f"--config={node}/kube-proxy.json"), Gate.API),
        *engine,
        *outside,
    ]


def _ways_in(layout: Layout) -> list[Component]:
    """Contour and its Envoy, which listens on the node's port 8080 for what Gateway GATEWAY has on port 80."""
    contour, envoy = (str(directory / directory.name) for directory in (layout.contour_dir, layout.envoy_dir))
    xds = ("--xds-address=127.0.0.1", "--xds-port=8001")
    serve = (
        *(contour, "serve", "--insecure", *xds, f"--kubeconfig={layout.admin_kubeconfig}"),
        f"--config-path={layout.node_dir}/contour.yaml",
        "--disable-leader-election",
        *(f"--disable-feature={one}s" for one in ("extensionservice", "tlsroute", "grpcroute", "tcproute")),
        "--disable-feature=backendtlspolicies",
        f"--ingress-status-address={NODE_IPV4}",
    )
    configured, proxy = "/run/envoy.json", f"{envoy} --service-cluster ktpy --service-node {NODE_NAME}"
    bootstrap = f"{contour} bootstrap {' '.join(xds)} --admin-address=/run/envoy.socket {configured}"
    start = f"{bootstrap} && exec {proxy} --disable-hot-restart --config-path {configured}"
    return [Component("contour", serve, Gate.API), Component("envoy", ("sh", "-c", start))]


def configuration(layout: Layout, variant: Variant) -> Mapping[str, str]:
    """The files of the node's directory, by relative path."""
    return {
        "containerd.toml": _containerd(layout),
        "cni/10-pods.conflist": _cni(layout),
        "kubelet.json": _kubelet(layout, variant),
        "kube-proxy.json": _kube_proxy(layout, variant),
        "contour.yaml": f"gateway: {{gatewayRef: {{namespace: {GATEWAY[0]}, name: {GATEWAY[1]}}}}}\n",
        "resolv.conf": f"nameserver {RESOLVER_IPV4}\n",  # what pods with dnsPolicy Default get: CoreDNS, first of all
    }


def _containerd(layout: Layout) -> str:
    """Configuration version 2: containerd 1.6 and 1.7 read it, 2.x migrates it when it starts."""
    node = layout.node_dir
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""\
version = 2
root = "{node}/containerd"
state = "/run/containerd"

[grpc]
  address = "{CONTAINERD_SOCKET}"

[{cri}]
  sandbox_image = "{PAUSE_IMAGE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [{cri}.containerd]
    snapshotter = "overlayfs"
    [{cri}.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [{cri}.containerd.runtimes.runc.options]
        SystemdCgroup = false
  [{cri}.cni]
    bin_dir = "{CNI_BINARIES}"
    conf_dir = "{node}/cni"
"""


def _cni(layout: Layout) -> str:
    """Pods are given addresses one after the other, and those of pods that are gone again, but never the last ones."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isDefaultGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": f"{layout.node_dir}/ipam",
            "ranges": [
                [{"subnet": subnet, "rangeEnd": str(ip_network(subnet)[LAST_POD])}] for subnet in (POD_IPV4, POD_IPV6)
            ],
        },
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, ports]}, indent=2)


def _kubelet(layout: Layout, variant: Variant) -> str:
    pki, node = layout.pki_dir, layout.node_dir
    return json.dumps(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": "::",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": f"{pki}/ca.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": f"{pki}/kubelet.crt",
            "tlsPrivateKeyFile": f"{pki}/kubelet.key",
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            "cgroupDriver": "cgroupfs",
            "cgroupsPerQOS": True,
            "enforceNodeAllocatable": ["pods"],
            "failCgroupV1": False,
            "failSwapOn": False,
            "clusterDomain": CLUSTER_DOMAIN,
            "clusterDNS": [CLUSTER_DNS_IPV4],
            "resolvConf": f"{node}/resolv.conf",
            "podLogsDir": f"{node}/pod-logs",
            "volumePluginDir": f"{node}/volume-plugins",
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "nodeStatusUpdateFrequency": "2s",
            "syncFrequency": "10s",
            "featureGates": variant.gates,
        },
        indent=2,
    )


def _kube_proxy(layout: Layout, variant: Variant) -> str:
    return json.dumps(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "bindAddress": "0.0.0.0",
            "mode": variant.proxy_mode,
            "clusterCIDR": f"{POD_IPV4},{POD_IPV6}",
            "hostnameOverride": NODE_NAME,
            "clientConnection": {"kubeconfig": f"{layout.pki_dir}/kube-proxy.kubeconfig"},
            # Connection tracking limits are the machine's, not the node's: leave them alone.
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s"},
            variant.proxy_mode: {"minSyncPeriod": "0s", "syncPeriod": "30s"},
        },
        indent=2,
    )
