"""Credential helpers are real programs here: shell scripts on the PATH."""

import json
import os
from pathlib import Path

import pytest

from ktpy.errors import RegistryRefused
from ktpy.image import login, name
from ktpy.image.login import Login


def helper(home: Path, word: str, body: str) -> None:
    path = home / f"docker-credential-{word}"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def find(image: str) -> Login | None:
    return login.find(name.parse(image, "1"))


def test_credential_helpers(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{home}{os.pathsep}{os.environ['PATH']}")
    (home / ".docker").mkdir()
    settings = {
        "credHelpers": {"one.org": "one", "bad.org": "bad", "odd.org": "odd", "no.org": "no"},
        "credsStore": "all",
    }
    (home / ".docker/config.json").write_text(json.dumps(settings))
    helper(home, "one", """read -r server; echo "{\\"Username\\": \\"$1\\", \\"Secret\\": \\"of $server\\"}\"""")
    helper(home, "all", """read -r server; echo "{\\"Username\\": \\"<token>\\", \\"Secret\\": \\"$server\\"}\"""")
    helper(home, "bad", "echo the keychain is locked; exit 3")
    helper(home, "odd", "echo hello")
    assert find("one.org/a") == Login("get", "of one.org", "docker-credential-one")
    assert find("docker.io/al/a") == Login("<token>", "https://index.docker.io/v1/", "docker-credential-all")
    for image, sentence in (
        ("bad.org/a", "failed with exit code 3: the keychain is locked"),
        ("odd.org/a", "answered no login"),
        ("no.org/a", "cannot be asked: No such file"),
    ):
        with pytest.raises(RegistryRefused, match=sentence):
            find(image)
    helper(home, "all", "echo credentials not found in native keychain; exit 1")
    assert find("two.org/a") is None
