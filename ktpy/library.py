"""Importing a library without those of its modules that ktpy has no use for, each of which takes a start some time."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


class _StandIn(ModuleType):
    """A _StandIn has every name that is imported from it, as an empty class."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Let these modules be stand-ins for what the block imports; afterwards they can be imported as ever.

    One that is there already stays as it is.
    """
    absent = [name for name in names if name not in sys.modules]
    sys.modules.update({name: _StandIn(name) for name in absent})
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
