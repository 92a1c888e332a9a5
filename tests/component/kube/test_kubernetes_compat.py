"""Importing the library: cheaply, and without harm to others. In processes of their own, for a clean start."""

import subprocess
import sys

HEAVY = ("requests", "urllib3", "pydantic", "oauthlib", "kubernetes.aio.client.api_client")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_only_the_connections_are_imported() -> None:
    code = f"import sys, ktpy.kube.websockets\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    assert run(code) == "[]"


def test_the_library_itself_can_still_be_imported() -> None:
    code = "import ktpy.kube.kubernetes_compat, kubernetes\nprint(kubernetes.client.CoreV1Api.__name__)"
    assert run(code) == "CoreV1Api"


def test_a_library_that_is_there_already_is_used() -> None:
    code = (
        "import kubernetes.aio.client.rest as rest, ktpy.kube.kubernetes_compat as library\n"
        "print(library.RESTClientObject is rest.RESTClientObject)"
    )
    assert run(code) == "True"


def test_requests_and_watches_are_light() -> None:
    names = ("aiohttp", "kubernetes", "yaml", "asyncssh", "pyroute2")
    imports = "import sys, ktpy.kube.connections, ktpy.cluster.pods.shadow, ktpy.cluster.routing.ranges"
    code = f"{imports}\nprint([name for name in {names!r} if name in sys.modules])"
    assert run(code) == "[]"


def test_no_certificate_of_the_machine_is_read() -> None:
    code = """
import ssl
base = ssl.SSLContext.set_default_verify_paths
import ktpy.kube.websockets
import aiohttp.connector
print(len(aiohttp.connector._SSL_CONTEXT_VERIFIED.get_ca_certs()), ssl.SSLContext.set_default_verify_paths is base)
"""
    assert run(code) == "0 True"
