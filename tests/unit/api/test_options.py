from collections.abc import Callable
from pathlib import Path

import click
import pytest

from ktpy.api import options, verbs
from ktpy.api.options import words_of
from ktpy.cli.main import cli
from ktpy.errors import UsageError

ELSEWHERE = {"--output", "--verbose", "--detach", "--print-only"}
"""These are for who types."""
PARAMETERS = {"exchange": {"expose"}, "mesh": {"expose"}, "preview": {"expose"}}
"""These have parameters of their own."""


@pytest.mark.parametrize("name", ["connect", "run", "forward", "exchange", "mesh", "preview"])
def test_the_parameters_are_the_options_of_the_command(name: str) -> None:
    offered = getattr(options, f"{name.capitalize()}Options").__annotations__.keys() | PARAMETERS.get(name, set())
    of_command = {
        option
        for one in cli.commands[name].params
        if isinstance(one, click.Option)
        for option in (*one.opts, *one.secondary_opts)
        if option.startswith("--")
    }
    assert {word.partition("=")[0] for word in words_of(dict.fromkeys(offered, "x"))} == of_command - ELSEWHERE


def test_words() -> None:
    said = {"for_": "2h", "pod_timeout": 30, "keep": 0.5, "no_dns": True, "expose": ["1:2", "3"], "image": "a b"}
    assert list(words_of(said)) == [
        *("--for=2h", "--pod-timeout=30", "--keep=0.5", "--no-dns", "--expose=1:2", "--expose=3", "--image=a b")
    ]
    assert list(words_of({"header": {"user": "a=b"}, "kubeconfig": Path("/k")})) == [
        "--header=user=a=b",
        "--kubeconfig=/k",
    ]
    assert list(words_of({"context": None, "in_mesh": False, "include": [], "env": {}, "version": ""})) == [
        "--version="
    ]


@pytest.mark.parametrize(
    "begin",
    [
        lambda word: verbs.forward(word),
        lambda word: verbs.forward("web", word),
        lambda word: verbs.exchange(word, expose="80"),
        lambda word: verbs.mesh(word, expose="80"),
        lambda word: verbs.preview(word, expose="80"),
        lambda word: verbs.run("true", word).send(None),
    ],
)
def test_no_name_is_an_option(begin: Callable[[str], object]) -> None:
    with pytest.raises(UsageError, match="'--context=prod' names nothing: it begins with a hyphen"):
        begin("--context=prod")
