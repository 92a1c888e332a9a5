"""The proxies of the laptop, as a program in a network of its own reaches them."""

import pytest

from ktpy.capture.namespace.proxies import for_program

CLUSTER = (".svc", ".cluster.local", "10.96.0.0/16")


@pytest.mark.parametrize(
    ("proxy", "reached"),
    [
        ("http://127.0.0.1:3128", "http://host.ktpy.internal:3128"),
        ("http://al:secret@localhost:3128/", "http://al:secret@host.ktpy.internal:3128/"),
        ("socks5h://[::1]:1080", "socks5h://host.ktpy.internal:1080"),
        ("localhost:3128", "host.ktpy.internal:3128"),
        ("http://proxy.example:3128", "http://proxy.example:3128"),
        ("http://localhost.example:3128", "http://localhost.example:3128"),
    ],
)
def test_one_of_the_loopback_has_another_name(proxy: str, reached: str) -> None:
    assert for_program({"https_proxy": proxy}, CLUSTER)["https_proxy"] == reached


def test_the_cluster_is_not_asked_of_it() -> None:
    found = for_program({"ALL_PROXY": "socks5://proxy.example", "NO_PROXY": "corp.example", "A": "127.0.0.1"}, CLUSTER)
    assert found["NO_PROXY"] == found["no_proxy"] == "corp.example,.svc,.cluster.local,10.96.0.0/16"
    assert found["A"] == "127.0.0.1"


def test_without_proxies_nothing_is_changed() -> None:
    environment = {"HTTP_PROXY": "", "PATH": "/bin"}
    assert for_program(environment, CLUSTER) == environment
