"""The one module that imports `kubernetes`: ktpy uses the connections of its asyncio client for WebSockets.

Its models, its API classes and its kubeconfig loader stay out: ktpy speaks plain JSON, and the loader (which differs
from kubectl in a dozen ways, see `kubeconfig.py` and `credentials.py`) brings pydantic along, 0.08 s and 11 MB.
Import this module only where a WebSocket is opened: aiohttp below it takes 0.13 s and 15 MB.
"""

import importlib
import importlib.util
import sys
from types import ModuleType

_PACKAGES = ("kubernetes", "kubernetes.aio", "kubernetes.aio.client", "kubernetes.aio.utils")


def _import_without_package_inits() -> None:
    """Import the modules below without the `__init__` of the packages they lie in, which import the whole library.

    `import kubernetes.aio.x` first runs `kubernetes/__init__`: the synchronous client with requests, urllib3 and
    oauthlib, all in all 0.2 s and 20 MB that ktpy never uses. While the modules load, bare packages stand in; they
    are gone afterwards, so `import kubernetes` elsewhere in the process finds the library as it is.
    """
    spec = importlib.util.find_spec("kubernetes")
    if "kubernetes" in sys.modules or spec is None or not spec.submodule_search_locations:
        return
    root = spec.submodule_search_locations[0]
    for name in _PACKAGES:
        package = ModuleType(name)
        package.__path__ = ["/".join([root, *name.split(".")[1:]])]
        sys.modules[name] = package
    try:
        importlib.import_module("kubernetes.aio.client.configuration")
        importlib.import_module("kubernetes.aio.client.rest")
    except (ImportError, AttributeError):
        # This release is not laid out as release 37 is: the ordinary imports below work all the same.
        for name in [name for name in sys.modules if name.startswith("kubernetes.")]:
            del sys.modules[name]
    finally:
        for name in _PACKAGES:
            sys.modules.pop(name, None)


_import_without_package_inits()

from kubernetes.aio.client.configuration import Configuration  # noqa: E402
from kubernetes.aio.client.rest import RESTClientObject  # noqa: E402

__all__ = ["Configuration", "RESTClientObject"]
