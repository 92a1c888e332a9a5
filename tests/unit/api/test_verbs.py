"""What a call makes a command line of; tests/component/api runs some."""

from collections.abc import Callable

import pytest

import ktpy
from ktpy import __version__, errors
from ktpy.api import verbs
from ktpy.api.session import Session


@pytest.mark.parametrize(
    ("begin", "words"),
    [
        (lambda: ktpy.connect(namespace="shop", no_dns=True), ["connect", "--namespace=shop", "--no-dns"]),
        (lambda: ktpy.forward("web", "80", ":443", via="node"), ["forward", "--via=node", "web", "80", ":443"]),
        (lambda: ktpy.forward(all=True), ["forward", "--all"]),
        (lambda: ktpy.exchange("web", expose=["1:80", "2"]), ["exchange", "web", "--expose=1:80", "--expose=2"]),
        (lambda: ktpy.mesh("web", expose="1", version="a"), ["mesh", "web", "--expose=1", "--version=a"]),
        (lambda: ktpy.preview("pay", expose="1", for_="2h"), ["preview", "pay", "--expose=1", "--for=2h"]),
    ],
)
def test_sessions(begin: Callable[[], "Session[ktpy.ConnectStatus]"], words: list[str]) -> None:
    assert list(begin()._words) == words


def test_the_package_offers_the_api_and_nothing_else() -> None:
    assert (ktpy.run, ktpy.call, ktpy.Session) == (verbs.run, verbs.call, Session)
    assert (ktpy.errors, ktpy.__version__) == (errors, __version__)
    with pytest.raises(AttributeError, match="module 'ktpy' has no attribute 'exchagne'"):
        _ = ktpy.exchagne  # type: ignore[attr-defined]
