import sys
from pathlib import Path

import pytest
from ktpy_agent.dev_install import interpreter, relocated, wrapper


def test_a_copy_looks_for_accounts_in_the_agent_s_folder() -> None:
    data = b"x\0/etc/passwd\0/etc/passwd.old\0/run/sshd\0"
    assert relocated(data) == b"x\0/.kt/passwd\0/etc/passwd.old\0/.kt/sshd\0"
    assert len(relocated(data)) == len(data)


def test_the_loader_of_a_program() -> None:
    assert interpreter(Path(sys.executable).resolve().read_bytes()).exists()


def test_a_program_that_needs_none() -> None:
    with pytest.raises(ValueError, match="statically"):
        interpreter(b"\x7fELF" + bytes(80))


def test_the_image_s_loader_variables_are_not_the_agent_s() -> None:
    script = wrapper("/.kt", Path("/usr/sbin/sshd"), "/.kt/bin/sshd").decode()
    assert 'export KTPY_SET_ASIDE_LD_PRELOAD="$LD_PRELOAD"; unset LD_PRELOAD' in script
    assert script.endswith('--argv0 /.kt/bin/sshd /.kt/usr/sbin/sshd  "$@"\n')
