"""What a command on the laptop finds in its environment."""

from collections.abc import Mapping

import pytest

from tests.lab import laptop


def environment(caller: Mapping[str, str]) -> dict[str, str]:
    return laptop.environment(caller, user="dev", home="/home/dev", shell="/bin/bash", uid=1001, search_path="/bin")


@pytest.mark.parametrize(
    "name", ["SUDO_UID", "https_proxy", "SSL_CERT_FILE", "PYTHONPATH", "VIRTUAL_ENV", "KUBECACHEDIR"]
)
def test_the_machines_own_matters_stay_behind(name: str) -> None:
    assert name not in environment({name: "x"})


@pytest.mark.parametrize("name", ["TERM", "LANG", "LC_ALL", "KTPY_NAMESPACE"])
def test_terminal_language_and_options_come_along(name: str) -> None:
    assert environment({name: "x"})[name] == "x"


def test_the_user_is_the_laptops() -> None:
    found = environment({"HOME": "/root", "USER": "root", "KUBECONFIG": "/root/other"})
    assert (found["HOME"], found["USER"], found["KUBECONFIG"]) == ("/home/dev", "dev", "/home/dev/.kube/config")
    assert found["XDG_RUNTIME_DIR"] == "/run/user/1001"
