import os
from pathlib import Path

from ktpy_agent.dev import environment_of, write_accounts


def test_programs_get_the_container_s_environment() -> None:
    given = b"COLOUR=red\0KTPY_RUN_DIR=/x\0KTPY_SET_ASIDE_LD_PRELOAD=/own.so\0TERM=dumb\0"
    assert environment_of(given, "xterm") == {"COLOUR": "red", "LD_PRELOAD": "/own.so", "TERM": "xterm"}
    assert environment_of(given, "")["TERM"] == "dumb"


def test_the_account_is_whoever_the_container_runs_as(tmp_path: Path) -> None:
    write_accounts(tmp_path, Path("/run"))
    account = (tmp_path / "passwd").read_text().splitlines()[0]
    assert account == f"ktpy:x:{os.getuid()}:{os.getgid()}::/run:/bin/sh"
    main, secondary = os.openpty()
    assert (tmp_path / "group").read_text().splitlines()[0] == f"tty:x:{os.fstat(secondary).st_gid}:"
    os.close(main)
    os.close(secondary)
