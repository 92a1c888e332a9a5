"""ktpy makes a laptop part of a Kubernetes cluster, both ways. docs/python.md tells what `import ktpy` offers.

`__init__.pyi` tells type checkers the same.
"""

__version__ = "0.1.0"

_OFFERED = frozenset(
    {"ConnectStatus", "InterceptStatus", "Session", "call", "connect", "exchange", "forward", "mesh", "preview", "run"}
)


def __getattr__(name: str) -> object:
    """Import the Python API when a program asks for it (PEP 562): the command, and the agent, need none of it."""
    if name not in _OFFERED and name != "errors":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # by name: the agent has this file, and the lower layers do

    return import_module("ktpy.errors") if name == "errors" else getattr(import_module("ktpy.api.verbs"), name)
