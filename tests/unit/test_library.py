import importlib
import re
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from ktpy.library import cheap_annotations, lazy_patterns, without

NAMES = ("shelf", "shelf.used", "shelf.unused")


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A library of two modules, of which one fails to be imported."""
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf/__init__.py").write_text("from shelf.unused import Gone\nfrom shelf.used import Here\n")
    (tmp_path / "shelf/used.py").write_text("Here = 1\n")
    (tmp_path / "shelf/unused.py").write_text("raise OSError('it was imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "shelf"
    for name in NAMES:
        sys.modules.pop(name, None)


def test_a_library_is_imported_without_one_of_its_modules(shelf: Path) -> None:
    with without("shelf.unused"):
        library = importlib.import_module("shelf")
    assert (library.Here, library.Gone.__name__) == (1, "Gone")


def test_the_module_can_be_imported_afterwards(shelf: Path) -> None:
    with without("shelf.unused"):
        importlib.import_module("shelf")
    with pytest.raises(OSError, match="it was imported"):
        importlib.import_module("shelf.unused")


def test_a_module_that_is_there_stays(shelf: Path) -> None:
    (shelf / "unused.py").write_text("class Gone: pages = 7\n")
    importlib.import_module("shelf")
    with without("shelf.unused"):
        del sys.modules["shelf"]
        assert importlib.import_module("shelf").Gone.pages == 7
    assert "shelf.unused" in sys.modules


def test_a_pattern_is_compiled_when_it_is_first_used() -> None:
    with lazy_patterns():
        wrong, right = re.compile("("), re.compile("[A-Z]+", re.IGNORECASE)
    assert [right.fullmatch(word) is not None for word in ("ab", "a b")] == [True, False]
    with pytest.raises(re.error):
        wrong.match("a")
    assert isinstance(re.compile("a"), re.Pattern)


ANNOTATED = """
from typing import Any, Callable, Dict, Generic, List, Mapping, Optional, Tuple, Type, TypeVar, Union

T = TypeVar("T")
Maybe = Union[None, int, Type[ValueError]]
Made = Optional[Callable[..., Any]] | None | Maybe

class Here(Generic[T]):
    def ask(self, words: Dict[str, List[Maybe]], *more: Tuple[int, ...]) -> "Optional[T]":
        return None

class Words(Dict[str, int]):
    pass

assert isinstance(Words(a=1), Mapping) and isinstance(Words(), dict)
"""


def test_annotations_are_made_of_nothing_while_a_library_is_imported(shelf: Path) -> None:
    whole = typing.Mapping
    (shelf / "unused.py").write_text(f"{ANNOTATED}\nGone = Here[int]().ask({{}})\n")
    with cheap_annotations():
        assert importlib.import_module("shelf").Gone is None
    assert typing.Mapping is whole


def test_annotations_are_whole_again_after_a_library_that_cannot_be_imported(shelf: Path) -> None:
    whole = typing.Callable
    with pytest.raises(OSError, match="it was imported"), cheap_annotations():
        importlib.import_module("shelf")
    assert typing.Callable is whole
