"""That it tells what the kubelet made shows in e2e/test_env.py."""

from pathlib import Path

import pytest
from ktpy_agent import environment

from ktpy.wire.surroundings import PodEnvironment


def test_it_tells_its_own_environment_in_one_step(tmp_path: Path) -> None:
    assert environment.run([], tmp_path) == 0
    [file] = tmp_path.iterdir()
    assert "PATH" in PodEnvironment.parse(file.read_bytes()).variables
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("prefixes", "names"), [(["", "P_"], ("P_token", "db", "token")), (["X_"], ("X_db", "X_token"))]
)
def test_the_keys_of_whole_secrets_are_names(tmp_path: Path, prefixes: list[str], names: tuple[str, ...]) -> None:
    for number, keys in enumerate((["..data", "db", "token"], ["token"])):
        (tmp_path / str(number)).mkdir()
        for key in keys:
            (tmp_path / str(number) / key).touch()
    assert environment.secret_names(tmp_path, prefixes) == names
