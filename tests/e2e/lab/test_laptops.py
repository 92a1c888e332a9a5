"""Further laptops: each somebody else's, all with nothing but the API server, and gone with the lab."""

import pytest

from tests.e2e.lab.labs import NAME, run_verb
from tests.lab import Lab, LabError, laptop
from tests.lab.layout import API_PORT, NODE_IPV4, NODE_IPV6, RESOLVER_IPV4
from tests.lab.processes import ProcessRecord, wait_until

COUNT = 3


@pytest.fixture(scope="module")
def laptops(lab: Lab) -> list[Lab]:
    return lab.laptops(COUNT)


def holders(laptops: list[Lab]) -> list[ProcessRecord | None]:
    return [ProcessRecord.read(laptop.record_file(one.layout)) for one in laptops]


def test_each_is_a_machine_of_its_own(laptops: list[Lab]) -> None:
    own = "hostname; ip -brief address show eth0 | tr -s ' ' | cut -d' ' -f3; echo $$ > ~/mine; cat ~/mine"
    told = [one.exec(["sh", "-c", own], user="dev", check=True).stdout.splitlines() for one in laptops]
    assert [lines[0] for lines in told] == ["laptop", "laptop-2", "laptop-3"]
    assert len({lines[1] for lines in told}) == COUNT
    kept = [one.exec(["cat", "/home/dev/mine"], check=True).stdout.strip() for one in laptops]
    assert kept == [lines[2] for lines in told]


def test_the_first_is_the_labs_own(laptops: list[Lab], lab: Lab) -> None:
    assert laptops[0].layout == lab.layout


def test_kubectl_works_on_each(laptops: list[Lab]) -> None:
    for one in laptops:
        done = one.exec(["kubectl", "get", "namespace", "default", "-o", "name"], user="dev")
        assert done.stdout == "namespace/default\n", done.stderr


@pytest.mark.parametrize("address", [NODE_IPV4, f"[{NODE_IPV6}]"])
def test_the_api_server_answers(laptops: list[Lab], address: str) -> None:
    assert laptops[1].exec(["curl", "-sk", f"https://{address}:{API_PORT}/livez"]).stdout == "ok"


@pytest.mark.parametrize(
    "where",
    [
        f"https://{NODE_IPV4}:10250/",  # the kubelet
        "http://10.96.0.10:9153/metrics",  # CoreDNS, by its service
        "https://10.99.3.2/",  # the other laptop
        f"telnet://{RESOLVER_IPV4}:53",
    ],
)
def test_nothing_else_does_also_when_somebody_sets_routes(laptops: list[Lab], where: str) -> None:
    ask = f"ip route add default via 10.99.2.1; curl -sk --max-time 0.5 {where}; echo $?; ip route delete default"
    done = laptops[1].exec(["sh", "-c", ask])
    assert done.stdout == "28\n", done.stderr  # timed out


@pytest.mark.parametrize("address", ["10.96.0.1", "10.99.0.53", "192.0.2.1", "fd96::1"])
def test_there_is_no_route_to_the_outside(laptops: list[Lab], address: str) -> None:
    done = laptops[1].exec(["ip", "route", "get", address])
    assert (done.returncode, "unreachable" in done.stderr) == (2, True)


def test_more_of_them_leave_those_that_there_are(laptops: list[Lab], lab: Lab) -> None:
    before = holders(laptops)
    more = lab.laptops(COUNT + 1)
    assert holders(more)[:COUNT] == before
    assert lab.status()["laptops"] == COUNT + 1


def test_one_that_died_is_made_anew(laptops: list[Lab], lab: Lab) -> None:
    laptops[2].exec(["touch", "/home/dev/of-before"], check=True)
    [*_, last] = holders(laptops)
    assert last is not None
    last.kill()
    with pytest.raises(LabError, match=f"laptops {COUNT}"):
        laptops[2].exec(["true"])
    lab.laptops(COUNT)
    assert laptops[2].exec(["ls", "/home/dev"], check=True).stdout == ""


def test_a_cut_is_one_laptops_own(laptops: list[Lab]) -> None:
    carrier = ["cat", "/sys/class/net/eth0/carrier"]
    seen: list[list[str]] = []

    def is_one_without() -> bool:
        seen.append([one.exec(carrier).stdout.strip() for one in laptops])
        return seen[-1] == ["1", "0", "1"]

    cut = run_verb(NAME, "cut", "--laptop", "2", "600")
    wait_until(is_one_without, 60, "the second to lose its carrier")
    cut.terminate()
    cut.communicate(timeout=60)
    assert laptops[1].exec(carrier).stdout.strip() == "1"
    for address in (NODE_IPV4, f"[{NODE_IPV6}]"):
        assert laptops[1].exec(["curl", "-sk", f"https://{address}:{API_PORT}/livez"]).stdout == "ok"


def test_a_number_that_is_none_is_refused(lab: Lab) -> None:
    for count in ("0", "1000"):
        process = run_verb(NAME, "laptops", count)
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, "laptops have the numbers" in errors) == (1, True)
