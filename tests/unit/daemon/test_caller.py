import os
import pwd
from pathlib import Path

import pytest

from ktpy.daemon.caller import Caller
from ktpy.errors import PrivilegeMissing

NOBODY = pwd.getpwnam("nobody")


def test_without_sudo_the_caller_is_the_user_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    assert Caller.current().uid == os.geteuid()


def test_under_sudo_the_caller_is_who_called_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", str(NOBODY.pw_uid))
    caller = Caller.current()
    assert (caller.uid, caller.gid, caller.home) == (NOBODY.pw_uid, NOBODY.pw_gid, Path(NOBODY.pw_dir))
    assert caller.is_behind_sudo


def test_a_user_id_without_an_entry_is_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "3999999999")
    with pytest.raises(PrivilegeMissing, match="3999999999"):
        Caller.current()
