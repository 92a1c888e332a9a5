from pathlib import Path

import pytest

from ktpy.sessions import env_file


def test_lines_are_those_of_docker(tmp_path: Path) -> None:
    (file := tmp_path / "a").write_bytes(b'# of all\n\n  A=1\nB="x y"=z\nC=\nD=\xff\n')
    assert env_file.read(file) == {"A": "1", "B": '"x y"=z', "C": "", "D": "\udcff"}
    file.write_text("A=1\nB")
    with pytest.raises(ValueError, match="'B' is not NAME=VALUE"):
        env_file.read(file)
