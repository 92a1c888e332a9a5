"""The node's configuration is what its readers can parse, and says the same thing everywhere."""

import ipaddress
import itertools
import json
import tomllib
from typing import Any

import pytest

from tests.lab import components, layout
from tests.lab.components import Gate
from tests.lab.layout import Layout
from tests.lab.variant import Variant

LAB = Layout("unit")


def cri() -> dict[str, Any]:
    parsed: dict[str, Any] = tomllib.loads(components.configuration(LAB, Variant())["containerd.toml"])
    assert parsed["version"] == 2
    plugin: dict[str, Any] = parsed["plugins"]["io.containerd.grpc.v1.cri"]
    return plugin


def test_containerd_reads_networks_from_where_they_are_written() -> None:
    assert cri()["cni"]["conf_dir"] == str(LAB.node_dir / "cni")


def test_containerd_and_kubelet_agree_on_the_cgroup_driver() -> None:
    kubelet = json.loads(components.configuration(LAB, Variant())["kubelet.json"])
    assert kubelet["cgroupDriver"] == "cgroupfs"
    assert cri()["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] is False


def test_api_server_and_controller_manager_agree_on_the_service_ranges() -> None:
    ranges = {
        argument
        for component in components.components(LAB, Variant())
        for argument in component.command
        if argument.startswith("--service-cluster-ip-range=")
    }
    assert ranges == {f"--service-cluster-ip-range={layout.SERVICE_IPV4},{layout.SERVICE_IPV6}"}


@pytest.mark.parametrize("name", ["kube-controller-manager", "kube-scheduler", "kube-proxy"])
def test_who_exits_without_an_api_server_waits_for_it(name: str) -> None:
    (component,) = [item for item in components.components(LAB, Variant()) if item.name == name]
    assert component.gate is Gate.API


def test_pods_services_and_the_link_do_not_overlap() -> None:
    link = ipaddress.ip_interface(f"{layout.NODE_IPV4}/{layout.LINK_IPV4_PREFIX_LENGTH}").network
    ranges = [link, *(ipaddress.ip_network(text) for text in (layout.POD_IPV4, layout.SERVICE_IPV4))]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(ranges, 2))


def test_pods_leave_addresses_that_are_nobodys() -> None:
    """Else the 250th pod of a lab would have one that other tests take for absent."""
    ranges = json.loads(components.configuration(LAB, Variant())["cni/10-pods.conflist"])["plugins"][0]["ipam"][
        "ranges"
    ]
    assert [of_family[0]["rangeEnd"] for of_family in ranges] == ["10.244.0.191", "fd44::bf"]


def test_the_clusters_dns_is_in_the_service_range() -> None:
    assert ipaddress.ip_address(layout.CLUSTER_DNS_IPV4) in ipaddress.ip_network(layout.SERVICE_IPV4)


def test_a_variant_is_what_its_components_are_told() -> None:
    gates = "One=true,Other=false"
    variant = Variant(proxy_mode="nftables", network_policies="enforced", ingress="contour", feature_gates=gates)
    files = components.configuration(LAB, variant)
    assert json.loads(files["kube-proxy.json"])["mode"] == "nftables"
    assert json.loads(files["kubelet.json"])["featureGates"] == {"One": True, "Other": False}
    commands = {item.name: item.command for item in components.components(LAB, variant)}
    assert "--feature-gates=One=true,Other=false" in commands["kube-apiserver"]
    assert commands["network-policies"][0] == str(LAB.policies_program)
    assert commands["contour"][0] == str(LAB.contour_dir / "contour")
    assert f"exec {LAB.envoy_dir}/envoy " in commands["envoy"][-1]


def test_what_nobody_has_chosen_does_not_run() -> None:
    names = {item.name for item in components.components(LAB, Variant())}
    assert names.isdisjoint({"network-policies", "contour", "envoy"})


def test_a_containerd_that_was_built_goes_before_the_machines() -> None:
    folders = components.program_path(LAB).split(":")
    assert folders.index(str(LAB.runtime_dir)) < folders.index("/usr/bin")
