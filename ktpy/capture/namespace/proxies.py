"""The proxies that a program's environment names: those of the laptop's loopback have its name in its network.

Nothing of the cluster is asked of them, as far as NO_PROXY can say that.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from ktpy.capture.namespace.exits import HOST_NAME

_SETTING: Final = re.compile(r"(?:http|https|ftp|all)_proxy", re.IGNORECASE)
_EXCEPTIONS: Final = ("NO_PROXY", "no_proxy")
_LOOPBACK: Final = re.compile(r"(?P<before>^|//|@)(?:localhost|127(?:\.\d+){3}|\[::1\])(?=[:/]|$)")


def for_program(environment: Mapping[str, str], of_cluster: Iterable[str]) -> dict[str, str]:
    """Return the environment as the program needs it; `of_cluster` are domains and ranges."""
    proxies = {name: value for name, value in environment.items() if value and _SETTING.fullmatch(name)}
    if not proxies:
        return dict(environment)
    reached = {name: _LOOPBACK.sub(rf"\g<before>{HOST_NAME}", value) for name, value in proxies.items()}
    before = next((environment[name] for name in _EXCEPTIONS if environment.get(name)), "")
    exceptions = ",".join(filter(None, [before, *of_cluster]))
    return {**environment, **reached, **dict.fromkeys(_EXCEPTIONS, exceptions)}
