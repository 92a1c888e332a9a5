"""Importing a library without those of its modules that ktpy has no use for, each of which takes a start some time."""

import re
import sys
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final, cast


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


class _LazyPattern:
    """A _LazyPattern is a regular expression that is compiled when it is first used."""

    def __init__(self, *compiled_from: Any) -> None:
        self._compiled_from = compiled_from

    def __getattr__(self, name: str) -> Any:
        value = getattr(_compile(*self._compiled_from), name)
        setattr(self, name, value)
        return value


_compile = re.compile


@contextmanager
def lazy_patterns() -> Iterator[None]:
    """Let the regular expressions that the block makes be compiled when they are first used.

    It is for a library that calls nothing but their methods: `re.sub` and the like do not take them.
    """
    cast(Any, re).compile = _LazyPattern
    try:
        yield
    finally:
        re.compile = _compile


class _Annotation:
    """An _Annotation stands for `Mapping`, `Mapping[str, int]` and so on."""

    def __init__(self, alias: Any) -> None:
        self._alias = alias

    def __getitem__(self, _: object) -> "_Annotation":
        return self

    __or__ = __ror__ = __getitem__

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, self._alias)

    def __mro_entries__(self, _: object) -> tuple[type, ...]:
        return cast(tuple[type, ...], self._alias.__mro_entries__((self._alias,)))


_ALIASES: Final = (
    "AsyncIterator",
    "Awaitable",
    "Callable",
    "Dict",
    "FrozenSet",
    "Iterable",
    "Iterator",
    "List",
    "Mapping",
    "Optional",
    "Sequence",
    "Set",
    "Tuple",
    "Type",
    "Union",
)


@contextmanager
def cheap_annotations() -> Iterator[None]:
    """Let the aliases of `typing` that annotations in the block are made of take no time to be put together.

    It is for a library whose annotations nobody reads while it runs.
    """
    whole = {name: vars(typing)[name] for name in _ALIASES}
    vars(typing).update({name: _Annotation(alias) for name, alias in whole.items()})
    try:
        yield
    finally:
        vars(typing).update(whole)
