"""Whom ktpy asks for names that are not the cluster's."""

from pathlib import Path

import pytest

from ktpy.capture.namespace import resolvers
from ktpy.capture.namespace.resolvers import LaptopResolvers


class Asked:
    """What stands for an Upstream: its answer is whom it would ask."""

    def __init__(self, servers: tuple[str, ...]) -> None:
        self.servers = servers

    async def __call__(self, _packet: bytes, _question: bytes, *, over_tcp: bool) -> bytes:
        return " ".join(self.servers).encode()

    def close(self) -> None:
        self.servers = ()


async def test_those_of_the_file_at_that_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolvers, "Upstream", Asked)
    path = tmp_path / "resolv.conf"
    laptop = LaptopResolvers(path)

    async def asked() -> bytes:
        return await laptop(b"", b"", over_tcp=False)

    assert await asked() == b"127.0.0.1"  # as the C library without a file
    path.write_text("nameserver 192.168.77.2\n")
    assert await asked() == b"192.168.77.2"
    (tmp_path / "other").write_text("nameserver 10.0.0.1\nnameserver 10.0.0.2\n")
    (tmp_path / "other").rename(path)
    assert await asked() == b"10.0.0.1 10.0.0.2"
