"""What `ktpy run` refuses before anything is made; test_run_proxied.py and tests/net/capture/namespace run programs."""

from pathlib import Path

import pytest

from ktpy.errors import KtpyError
from ktpy.sessions.dressed import refuse_unrunnable


def test_what_no_shell_could_run(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    for name, code in (
        ("no-such-program", 127),
        (f"{tmp_path}/absent", 127),
        (f"{tmp_path}/plain", 126),
        (f"{tmp_path}", 126),
    ):
        with pytest.raises(KtpyError, match="nothing was changed") as refused:
            refuse_unrunnable([name])
        assert refused.value.exit_code == code


def test_what_can_be_run() -> None:
    refuse_unrunnable(["sh", "-c", "true"])
