import base64
import json
from pathlib import Path
from typing import Any

import pytest

from ktpy.errors import RegistryRefused
from ktpy.image import login, name
from ktpy.image.login import Login


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def write(path: Path, **settings: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings))
    return str(path)


def auth(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def find(image: str) -> Login | None:
    return login.find(name.parse(image, "1"))


def test_where_logins_are(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find("r.org/a") is None
    podman = write(
        home / ".config/containers/auth.json", auths={"r.org": auth("pod:x"), "r.org/team": auth("team:y:z")}
    )
    assert find("r.org/a") == Login("pod", "x", podman)
    assert find("r.org/team/a") == Login("team", "y:z", podman)
    docker = write(
        home / ".docker/config.json",
        auths={
            "https://r.org/v2/": auth("al:p"),
            "https://index.docker.io/v1/": auth("hub:h"),
            "token.org": {**auth("al:"), "identitytoken": "t"},
            "kept.elsewhere": {},
        },
    )
    assert find("r.org/a") == Login("al", "p", docker)
    assert find("docker.io/al/a") == Login("hub", "h", docker)
    token = find("token.org/a")
    assert token == Login("<token>", "t", docker)
    assert token.is_identity_token
    assert find("kept.elsewhere/a") is None
    monkeypatch.setenv("DOCKER_CONFIG", str(home / "other"))
    assert find("r.org/a") == Login("pod", "x", podman)


def test_a_login_is_no_part_of_what_is_printed_of_it() -> None:
    assert repr(Login("al", "secret", "f")) == "Login(al of f)"


@pytest.mark.parametrize(
    "text", ["[", "[]", '{"auths": 3}', '{"auths": {"r.org": {"auth": "%"}}}', '{"credsStore": "a/b"}']
)
def test_broken_files(home: Path, text: str) -> None:
    write(home / ".docker/config.json")
    (home / ".docker/config.json").write_text(text)
    with pytest.raises(RegistryRefused, match=r"cannot be read|is no credential helper"):
        find("r.org/a")
