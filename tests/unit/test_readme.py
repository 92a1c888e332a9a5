"""README.md says what is so: what it prints of the code is the code's."""

import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from ktpy import errors
from ktpy.cli.dev import dev
from ktpy.cli.gateway import gateway
from ktpy.cli.image import image
from ktpy.cli.main import cli
from ktpy.cluster import rbac
from ktpy.observe import events, status

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_rights_are_those_of_the_code() -> None:
    section = README.partition("<!-- rbac:begin -->\n")[2].partition("<!-- rbac:end -->")[0]
    [manifest] = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    assert manifest == rbac.manifest("shop", "alice")


@pytest.mark.parametrize("shape", [*filter(is_dataclass, vars(status).values()), *events._EVENTS.values()])
def test_every_key_of_json_is_listed(shape: type[Any]) -> None:
    listed = re.findall(r"`(\w+)`", (ROOT / "docs/json.md").read_text())
    keys = {field.name.rstrip("_") for field in fields(shape)}
    assert keys <= set(listed)


def test_every_option_is_listed() -> None:
    commands = [*cli.commands.values(), *gateway.commands.values(), *dev.commands.values(), *image.commands.values()]
    options = {option for command in commands for one in command.params for option in one.opts}
    assert {option for option in options if option.startswith("--") and option not in README} == {
        "--all-namespaces",  # as -A
        "--verbose",  # as -v
    }


def test_every_exit_code_is_listed() -> None:
    section = README.partition("### Exit codes\n")[2].partition("\n###")[0]
    listed = {int(number) for number in re.findall(r"(?:: |, |\| )(\d+)(?=[ ,])", section)}
    codes = {
        error.exit_code
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.KtpyError)
    }
    assert codes <= listed
