import pytest

from ktpy.kube.environment_proxy import proxy_for

PROXY = "http://proxy.test:3128"


@pytest.mark.parametrize(
    ("server", "environment", "proxy"),
    [
        ("https://api.test:6443", {}, None),
        ("https://api.test:6443", {"HTTPS_PROXY": PROXY}, PROXY),
        ("https://api.test:6443", {"https_proxy": PROXY}, PROXY),
        ("https://api.test:6443", {"HTTPS_PROXY": "proxy.test:3128"}, PROXY),
        ("https://api.test:6443", {"HTTP_PROXY": PROXY}, None),
        ("http://api.test", {"HTTP_PROXY": PROXY}, PROXY),
        ("https://localhost:6443", {"HTTPS_PROXY": PROXY}, None),
        ("https://127.0.0.1:6443", {"HTTPS_PROXY": PROXY}, None),
        ("https://[::1]:6443", {"HTTPS_PROXY": PROXY}, None),
    ],
)
def test_proxy_of_the_environment(server: str, environment: dict[str, str], proxy: str | None) -> None:
    assert proxy_for(server, environment) == proxy


@pytest.mark.parametrize(
    ("server", "no_proxy", "is_direct"),
    [
        ("https://api.test:6443", "*", True),
        ("https://api.test:6443", "api.test", True),
        ("https://api.test:6443", "other.test, API.test", True),
        ("https://api.test:6443", "test", True),
        ("https://api.test:6443", ".test", True),
        ("https://api.test:6443", "*.test", True),
        ("https://api.test:6443", "api.test:6443", True),
        ("https://api.test:6443", "api.test:443", False),
        ("https://api.test:6443", "pi.test", False),
        ("https://10.1.2.3:6443", "10.0.0.0/8", True),
        ("https://10.1.2.3:6443", "10.1.2.3", True),
        ("https://10.1.2.3:6443", "192.168.0.0/16", False),
        ("https://[fd00::1]:6443", "fd00::/8", True),
    ],
)
def test_no_proxy(server: str, no_proxy: str, is_direct: bool) -> None:
    assert (proxy_for(server, {"HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy}) is None) == is_direct
