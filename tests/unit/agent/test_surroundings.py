from pathlib import Path

import pytest
from ktpy_agent import surroundings
from ktpy_agent.environment import FILE

from ktpy.wire.surroundings import PodEnvironment


def test_the_environment_is_told_without_what_the_agent_has_too(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    own = tmp_path / "environ"
    own.write_bytes(b"PATH=/bin\0HOSTNAME=shadow\0")
    (tmp_path / FILE).write_bytes(PodEnvironment({"PATH": "/bin", "A": "1"}, ("A",), "x").line())
    hosts = tmp_path / "hosts"
    hosts.write_text("# shadow\n127.0.0.1 localhost\n10.244.0.7\tshadow\n")
    assert surroundings.run(tmp_path, own, hosts) == 0
    told = PodEnvironment.parse(capfdbinary.readouterr().out)
    assert told == PodEnvironment({"A": "1"}, ("A",), "shadow", "10.244.0.7")
