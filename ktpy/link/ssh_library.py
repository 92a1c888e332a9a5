"""asyncssh, imported without its search for two optional libraries, which runs ldconfig, a compiler and a linker."""

import ctypes.util

_find_library = ctypes.util.find_library
ctypes.util.find_library = lambda name: None  # noqa: ARG005 - its signature
try:
    import asyncssh
finally:
    ctypes.util.find_library = _find_library

__all__ = ["asyncssh"]
