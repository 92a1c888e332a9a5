"""Defaults of options from files: for which command they are, what is refused, and that the rest goes before them."""

import json
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from ktpy.cli import defaults
from ktpy.cli.main import cli
from ktpy.daemon import settings
from ktpy.daemon.settings import PROJECT, SettingsFile

FOLDER = Path("/home/al/shop")
OWN = Path("/home/al/.config/ktpy/config.toml")


class Files:
    """What the files say."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._there: list[SettingsFile] = []
        monkeypatch.setattr(settings, "found", lambda _tell=None: self._there)

    def say(self, project: str = "", own: str = "") -> None:
        texts = ((FOLDER / PROJECT, project), (OWN, own))
        self._there = [SettingsFile(path, tomllib.loads(text), text) for path, text in texts]

    def of(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = defaults.default_map(cli.commands[name], name, self._there, cli.commands)
        return found


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Files:
    return Files(monkeypatch)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def test_the_nearer_file_and_the_narrower_table_go_first(files: Files) -> None:
    files.say(
        "namespace = 'shop'\n[connect]\nno-dns = true\ninclude = ['10.1.0.0/16']\npod-timeout = 90",
        "namespace = 'own'\ncontext = 'lab'\n[connect]\nnamespace = 'narrow'\nno-dns = false\nexclude = '10.2.0.0/16'",
    )
    assert files.of("connect") == {
        "namespace": "shop",
        "context": "lab",
        "no_dns": True,
        "include": ["10.1.0.0/16"],
        "exclude": ["10.2.0.0/16"],
        "pod_timeout": "90",
    }
    assert files.of("status") == {}
    assert files.of("list") == {"namespace": "shop", "context": "lab"}


def test_groups_and_the_image_of_the_agent(files: Files) -> None:
    files.say("image = 'agent'\n[dev]\ncontainer = 'main'\n[dev.start]\nimage = 'go'\n[dev.end]\npurge = true")
    found = files.of("dev")
    assert found["start"] == {"image": "go", "agent_image": "agent", "container": "main"}
    assert found["end"] == {"purge": True}
    assert found["list"] == {}


def test_paths_are_of_the_files_own_folder(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/al")
    files.say("pod-overlay = 'k8s/pod.yaml'", "kubeconfig = 'a:~/b:/c:~nobody-here/d'")
    found = files.of("connect")
    assert found["pod_overlay"] == "/home/al/shop/k8s/pod.yaml"
    assert found["kubeconfig"] == "/home/al/.config/ktpy/a:/home/al/b:/c:/home/al/.config/ktpy/~nobody-here/d"


@pytest.mark.parametrize(
    ("project", "sentence", "hint"),
    [
        ("namespac = 'a'", "1: There is no namespac for all commands.", "namespace is meant?"),
        ("[conect]\nmode = 'tun'", "1: There is no command conect.", "connect is meant?"),
        ("[recover]\nzz = '80'", "2: recover has no option zz.", "Known are: context, "),
        ("[dev]\nsink = '.'", "2: dev has no option sink.", ""),
        ("[gateway.kep]\nreplicas = 2", "1: gateway has no command kep.", "keep is meant?"),
        (
            "\nkubeconfig = './evil'",
            "2: kubeconfig is for you alone to say",
            "It may stand in ~/.config",
        ),
        ("[run]\nenv-file = '/home/al/.bashrc'", "2: env-file is for you alone to say", ""),
        ("allow-direct = true", "1: allow-direct is for you alone to say", ""),
        ("[connect]\nvia = 'node'", "2: via is for you alone to say", ""),
        ("[recover]\nnamespace = true", "2: namespace is True, not a text or a number.", ""),
        ("[recover]\nnamespace = ['a']", "2: namespace is ['a'], not a text or a number.", ""),
        ('namespace = "\\u0000"', "1: namespace is '\\x00', not a text or a number.", ""),
        ("verbose = true", "1: verbose is True, not a number.", ""),
    ],
)
def test_what_means_nothing(files: Files, project: str, sentence: str, hint: str) -> None:
    files.say(project)
    name = project.partition("[")[2].partition("]")[0].partition(".")[0]
    done = run(name if name in cli.commands else "recover", *(["list"] if name == "dev" else []))
    assert done.exit_code == 2
    assert f"{FOLDER / PROJECT}:{sentence}" in done.stderr
    assert hint in done.stderr


def test_a_value_that_is_wrong_is_told_with_its_place_and_where_it_is_wanted_as_json(files: Files) -> None:
    files.say(own="[connect]\nmode = 'tum'")
    assert f"{OWN}:2: Invalid value for '--mode': 'tum'" in run("connect").stderr
    assert str(OWN) not in run("connect", "--mode", "tam").stderr
    files.say(own="[connect]\nmode = 'proxy'\nno-dns = true\noutput = 'json'")
    assert json.loads(run("connect").stderr)["error"].startswith("--mode proxy leaves")


@pytest.mark.parametrize(
    ("project", "told"),
    [
        ("[logs]\nnonsense = 1", "2: logs has no option nonsense."),
        ("[conect]\nmode = 'tun'", "1: There is no command conect."),
        ("output = 'xml'", "1: Invalid value for '--output' / '-o': 'xml' is not one of 'text', 'json'."),
        ("[logs]\nwrite = '/home/al/.bashrc'", "2: logs has no option write."),
    ],
)
def test_what_shows_and_ends_goes_on_with_what_means_something(
    files: Files, monkeypatch: pytest.MonkeyPatch, project: str, told: str
) -> None:
    files.say(project, "output = 'json'")
    seen: list[Any] = []
    monkeypatch.setattr(cli.commands["status"], "callback", seen.append)
    monkeypatch.setattr(cli.commands["logs"], "callback", lambda **given: seen.append(given["output"]))
    done = run("logs")
    assert (done.exit_code, seen) == (0, ["json"])
    assert done.stderr.startswith(f"{FOLDER / PROJECT}:{told}")
    assert done.stderr.endswith(" No default of that file holds for this command.\n")


def test_command_line_and_environment_go_before_them(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(cli.commands["who"], "callback", lambda **options: seen.append(options["namespace"]))
    files.say("namespace = 'file'")
    run("who")
    monkeypatch.setenv("KTPY_NAMESPACE", "environment")
    run("who")
    run("who", "-n", "line")
    assert seen == ["file", "environment", "line"]


def _every() -> Iterator[click.Command]:
    for one in cli.commands.values():
        yield from one.commands.values() if isinstance(one, click.Group) else (one,)


def test_what_is_common_is_what_several_commands_have_and_a_project_names_no_file() -> None:
    options = [option for command in _every() for option in defaults.options_of(command)]
    count = Counter(str(option.envvar).removeprefix("KTPY_").lower().replace("_", "-") for option in options)
    assert all(count[name] >= 3 for name in defaults.COMMON)
    files = {defaults.key_of(option) for option in options if isinstance(option.type, click.Path)}
    assert files - defaults.USERS_OWN == {"pod-overlay"}  # what it says is for the cluster
    assert {*map(defaults.key_of, options)} >= defaults.USERS_OWN
