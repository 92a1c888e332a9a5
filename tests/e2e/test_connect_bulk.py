"""Bulk of one connection: past SSH where the cluster is near, over several SSH connections where it is far away."""

import re
from collections.abc import Callable, Iterator

import pytest

from ktpy.link.lanes import STRIPES
from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.shop import digest_of_body
from tests.e2e.test_connect_data import upload
from tests.lab import Lab
from tests.lab.processes import wait_until
from tests.lab.sessions.connect import ConnectSession, connecting

ROUND_TRIP_MS = 40
MUCH, ENOUGH = 60_000_000, 10_000_000
WIDE_WITHIN_S = 120.0


def carried(lab: Lab, way: str) -> dict[str, int]:
    """How many bytes each of the laptop's connections has sent or received so far, by its address."""
    options = ["--tcp", "--numeric", "--info", "--no-header", "--oneline"]
    lines = lab.exec(["ss", *options, "state", "established"], check=True).stdout.splitlines()
    counts = {line.split()[2]: re.search(rf"bytes_{way}:(\d+)", line) for line in lines}
    return {address: int(count[1]) for address, count in counts.items() if count}


def spread(lab: Lab, way: str, size: int, transfer: Callable[[], str]) -> int:
    """Over how many connections a good share of a transfer has gone, whose digest is as it should be."""
    before = carried(lab, way)
    assert transfer() == digest_of_body(size)
    return sum(count - before.get(address, 0) > size / 20 for address, count in carried(lab, way).items())


def downloaded(laptop: Laptop, size: int) -> str:
    command = f"curl -sS 'http://web/big?bytes={size}' | sha256sum"
    return laptop.output("bash", "-o", "pipefail", "-c", command).split()[0]


def uploaded(lab: Lab, size: int) -> str:
    return str(upload(lab, "http://web/upload", size)["sha256"])


@pytest.mark.parametrize("options", [[], ["--ssh-only"]], ids=["as it is", "--ssh-only"])
def test_bulk_goes_past_ssh_unless_told_not_to(lab: Lab, laptop: Laptop, options: list[str]) -> None:
    """What the connections carry that stand all the time is SSH's, and watches'."""
    with connecting(lab, "--namespace", "shop", *options):
        downloaded(laptop, ENOUGH)  # from now on bulk is expected there
        for way in ("received", "sent"):
            before = carried(lab, way)
            digest = downloaded(laptop, MUCH) if way == "received" else uploaded(lab, MUCH)
            assert digest == digest_of_body(MUCH)
            after = carried(lab, way)
            over_ssh = sum(after[address] - before[address] for address in before.keys() & after)
            assert (over_ssh > MUCH) is bool(options), f"{over_ssh} bytes {way}"


@pytest.fixture(scope="module")
def connected(lab: Lab, laptop: Laptop) -> Iterator[ConnectSession]:
    """Its further connections are made once it stands: so a download has them after a while."""
    lab.set_latency(ROUND_TRIP_MS)
    try:
        with connecting(lab, "--namespace", "shop") as session:
            wait_until(
                lambda: spread(lab, "received", ENOUGH, lambda: downloaded(laptop, ENOUGH)) >= STRIPES,
                WIDE_WITHIN_S,
                "a download to go over several connections",
            )
            yield session
    finally:
        lab.set_latency(0)


@pytest.mark.usefixtures("connected")
def test_one_download(lab: Lab, laptop: Laptop) -> None:
    assert spread(lab, "received", MUCH, lambda: downloaded(laptop, MUCH)) >= STRIPES


@pytest.mark.usefixtures("connected")
def test_one_upload(lab: Lab) -> None:
    assert spread(lab, "sent", MUCH, lambda: uploaded(lab, MUCH)) >= STRIPES
