"""What is wanted at the end of a line, by the grammar of the real commands."""

from typing import Any

import pytest

from ktpy.cli.grammar import grammar_of
from ktpy.cli.main import cli
from ktpy.completion.line import NOTHING, Grammar, wanted


@pytest.fixture(scope="module")
def grammar() -> Grammar:
    return grammar_of(cli)


def asked(grammar: Grammar, line: str, **environment: str) -> tuple[Any, str, dict[str, str]]:
    *words, typed = line.split(" ")
    found = wanted(grammar, words, typed, environment)
    return found.completes, found.typed, dict(found.given)


@pytest.mark.parametrize(
    ("line", "completes", "typed", "given"),
    [
        ("exchange w", "targets", "w", {}),
        ("exchange -d --context lab -nshop w", "targets", "w", {"context": "lab", "namespace": "shop"}),
        ("exchange web --expose=3001:80 -e 3001:", "exposed", "3001:", {"target": "web", "expose": "3001:80"}),
        ("exchange web --expose=3001:", "exposed", "3001:", {"target": "web"}),
        ("exchange --unheard-of web -n ", "namespaces", "", {"target": "web"}),
        ("forward web 80 8", "ports", "8", {"target": "web", "ports": "80"}),
        ("leave web ap", "sessions", "ap", {"targets": "web"}),
        ("-v dev start w", "targets", "w", {}),
        ("run web --service api --exchange ", "ports", "", {"workload": "web", "service": "api"}),
        ("connect --kubeconfig a", "file", "a", {}),
        ("connect --keep 1", NOTHING, "1", {}),
        ("recover web w", NOTHING, "w", {"service": "web"}),
        ("exchange web -- w", NOTHING, "w", {}),
        ("nonsense w", NOTHING, "w", {}),
        ("exchange --detach=w", NOTHING, "w", {}),
    ],
)
def test_what_a_word_stands_for(grammar: Grammar, line: str, completes: str, typed: str, given: dict[str, str]) -> None:
    assert asked(grammar, line) == (completes, typed, given)


def test_commands_options_and_choices_with_their_help(grammar: Grammar) -> None:
    commands, typed, _ = asked(grammar, "le")
    assert (commands["leave"], commands["connect"], typed) == (
        "End an exchange, mesh, preview, tap or forward",
        "Reach the cluster's addresses and names from here",
        "le",
    )
    assert {"start", "end"} <= set(asked(grammar, "dev ")[0])
    assert set(asked(grammar, "help ")[0]) == set(commands)
    assert asked(grammar, "connect --mode p")[0] == {"tun": "", "proxy": ""}
    options, _, _ = asked(grammar, "exchange -d -e 3001:80 -")
    assert {"--expose", "-e", "--in-mesh", "--not-in-mesh", "--help"} <= set(options)
    assert not {"--detach", "-d"} & set(options), "an option that is not repeated is offered twice"


def test_the_environment_gives_what_the_line_does_not(grammar: Grammar) -> None:
    environment = {"KTPY_NAMESPACE": "shop", "KTPY_CONTEXT": "lab"}
    assert asked(grammar, "exchange -n other w", **environment)[2] == {"namespace": "other", "context": "lab"}
