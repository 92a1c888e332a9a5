from pathlib import Path

import click
import pytest

from ktpy.cli import grammar as of_ktpy
from ktpy.cli.grammar import grammar_of
from ktpy.daemon.settings import SettingsFile
from ktpy.errors import UsageError


def test_the_parameters_of_each_command() -> None:
    @click.group(context_settings={"help_option_names": ["-h", "--help"]})
    def root() -> None:
        """Do."""

    @root.command(short_help="Get one")
    @click.argument("file", type=click.Path())
    @click.argument("more", nargs=-1)
    @click.option("--mode", "-m", type=click.Choice(["a", "b"]), envvar="MODE", help="How.")
    @click.option("--fast/--slow", help="How fast.")
    @click.option("--secret", hidden=True)
    @click.option("--loud", count=True)
    @click.option("--each", multiple=True)
    def get(**_: object) -> None:
        """Get."""

    found = grammar_of(root)
    assert (found["help"], found["arguments"], [one["flags"] for one in found["options"]]) == (
        "Do.",
        [],
        [["-h", "--help"]],
    )
    [name] = found["commands"]
    of_get = found["commands"][name]
    assert (name, of_get["help"], of_get["commands"]) == ("get", "Get one", {})
    rows = {one["name"]: (one["flags"], one["completes"], one["repeats"]) for one in of_get["options"]}
    assert rows == {
        "mode": (["--mode", "-m"], ["a", "b"], False),
        "fast": (["--fast", "--slow"], None, False),
        "loud": (["--loud"], None, False),
        "each": (["--each"], "", True),
        "_click_default_help": (["-h", "--help"], None, False),
    }
    assert [(one["name"], one["completes"], one["repeats"]) for one in of_get["arguments"]] == [
        ("file", "file", False),
        ("more", "", True),
    ]
    assert (of_get["options"][0]["env"], of_get["options"][0]["help"]) == ("MODE", "How.")


def test_defaults_of_a_command_from_files(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"namespace": "shop", "detach": True, "mesh": {"version": "al"}, "dev": {"start": {"context": "lab"}}}
    monkeypatch.setattr(of_ktpy, "found", lambda: [SettingsFile(Path(".ktpy.toml"), table)])
    assert of_ktpy.defaults(["mesh"]) == {"namespace": "shop", "version": "al"}
    assert of_ktpy.defaults(["dev", "start"]) == {"namespace": "shop", "context": "lab"}
    monkeypatch.setattr(of_ktpy, "found", lambda: [SettingsFile(Path(".ktpy.toml"), {"kubeconfig": "theirs"})])
    with pytest.raises(UsageError):  # of a project, it would name a file of the laptop
        of_ktpy.defaults(["mesh"])
