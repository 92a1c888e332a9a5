"""Reading /etc/resolv.conf as glibc does, and writing ours."""

from ipaddress import ip_address

import pytest

from ktpy.helper.resolv_conf import asked_by, marked, parse, render
from ktpy.wire.resolv_conf import ParsedResolvConf

OURS = (ip_address("127.18.0.53"),)
SEARCH = ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local")


def rendered(content: bytes, *, host_name: str = "box", search: tuple[str, ...] = SEARCH) -> list[str]:
    text = render(parse(content), OURS, search, "cluster.local", host_name).decode()
    assert text.endswith("\n")
    return [line for line in text.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", ParsedResolvConf((), (), (), ())),
        (b"nameserver 10.0.0.1", ParsedResolvConf(("10.0.0.1",), (), (), ())),
        (
            b"nameserver\t10.0.0.1  # main\nnameserver fe80::1%eth0\n",
            ParsedResolvConf(("10.0.0.1", "fe80::1%eth0"), (), (), ()),
        ),
        (b"# nameserver 1.1.1.1\n;search x\nnameserver\n", ParsedResolvConf((), (), (), ("nameserver",))),
        (b"domain a.b\nsearch c d\n", ParsedResolvConf((), ("c", "d"), (), ())),
        (b"search c d\ndomain a.b\n", ParsedResolvConf((), ("a.b",), (), ())),
        (b"options edns0\noptions ndots:2 rotate\n", ParsedResolvConf((), (), ("edns0", "ndots:2", "rotate"), ())),
        (b"sortlist 10.0.0.0\n", ParsedResolvConf((), (), (), ("sortlist 10.0.0.0",))),
        (b"\r\nnameserver 10.0.0.1\r\n", ParsedResolvConf(("10.0.0.1",), (), (), ())),
    ],
)
def test_parse(content: bytes, expected: ParsedResolvConf) -> None:
    assert parse(content) == expected


def test_ours_first_then_the_users_own() -> None:
    assert rendered(b"search corp.example\nnameserver 10.0.0.1\nnameserver 10.0.0.2\noptions edns0\n") == [
        "nameserver 127.18.0.53",
        "nameserver 10.0.0.1",
        "nameserver 10.0.0.2",
        "search shop.svc.cluster.Local svc.cluster.lOcal cluster.LOcal corp.example",
        "options edns0 ndots:2",
    ]


def servers(*listed: str) -> list[str]:
    lines = rendered("".join(f"nameserver {server}\n" for server in listed).encode())
    return [line.split()[1] for line in lines if line.startswith("nameserver")]


def test_beside_other_sessions_each_server_is_listed_once_and_glibc_asks_one_of_the_users() -> None:
    """glibc asks three. When all sessions were killed, the machine resolved nothing where these were all sessions'."""
    ours, east, west, mine, theirs = "127.18.0.53", "127.18.1.53", "127.18.2.53", "10.0.0.1", "10.0.0.2"
    assert servers(east, ours, mine, theirs) == [ours, east, mine, theirs]
    assert servers(west, east, mine, theirs) == [ours, west, mine, east, theirs]
    assert servers(west, mine, east, theirs) == [ours, west, mine, east, theirs]
    assert servers(west, east) == [ours, west, east]


def test_a_session_asks_those_behind_it_before_the_users_servers_and_none_before_it() -> None:
    """Two sessions that ask each other do so without end, and take the user's servers' word on each other's names."""
    first, east, west, mine = "127.18.0.53", "127.18.1.53", "127.18.2.53", "10.0.0.1"
    assert asked_by([west, east, mine, first], [west]) == [east, first, mine]
    assert asked_by([west, east, mine, first], [east]) == [first, mine]
    assert asked_by([west, east, mine, first], [first]) == [mine]
    assert asked_by([mine, "fe80::1%eth0", first], [first]) == [mine, "fe80::1%eth0"]
    assert asked_by([east, first, mine], []) == [east, first, mine]


def test_comment_says_who_and_how_to_get_rid_of_it() -> None:
    text = render(parse(b""), OURS, SEARCH, "cluster.local", "box").decode()
    assert text.startswith("# Written by ktpy")
    assert "sudo ktpy clean" in text


def test_file_without_name_server_means_the_local_one() -> None:
    assert "nameserver 127.0.0.1" in rendered(b"")


def test_rotate_is_dropped_for_it_would_go_past_us() -> None:
    assert "rotate" not in rendered(b"options rotate\n")[-1]
    assert "options edns0 ndots:2" in rendered(b"options rotate edns0\n")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", "options ndots:2"),
        ("options ndots:0", "options ndots:2"),
        ("options ndots:1 edns0", "options edns0 ndots:2"),
        ("options ndots:5", "options ndots:5"),
        ("options ndots:x", "options ndots:2"),
    ],
)
def test_a_name_and_a_namespace_are_looked_up_in_the_cluster_before_the_outside(options: str, expected: str) -> None:
    assert rendered(options.encode() + b"\n")[-1] == expected


def test_without_a_search_list_ndots_stays_as_it_was() -> None:
    assert rendered(b"options ndots:1\n", search=())[-1] == "options ndots:1"


def test_domain_of_the_host_name_is_kept() -> None:
    """glibc searches it only as long as there is no search line."""
    assert rendered(b"", host_name="box.corp.example")[-2].endswith("cluster.LOcal corp.example")
    assert rendered(b"search other\n", host_name="box.corp.example")[-2].endswith("cluster.LOcal other")


def test_search_names_each_domain_once() -> None:
    for ours in SEARCH[1], marked(SEARCH)[1]:  # another ktpy's, too
        searched = rendered(b"search corp.example %s\n" % ours.encode())[-2].split()
        assert searched == ["search", *marked(SEARCH), "corp.example"]


def test_empty_search_of_resolved_is_no_domain() -> None:
    assert rendered(b"search .\n", search=()) == ["nameserver 127.18.0.53", "nameserver 127.0.0.1"]


def test_other_lines_stay_and_bytes_survive() -> None:
    content = render(parse(b"sortlist 10.0.0.0\n# \xff\noptions \xfe\n"), OURS, (), "cluster.local", "box")
    assert b"sortlist 10.0.0.0\n" in content
    assert b"options \xfe\n" in content


def test_written_file_reads_back() -> None:
    previous = parse(b"nameserver 10.0.0.1\nsearch corp.example\noptions edns0\n")
    again = parse(render(previous, OURS, SEARCH, "cluster.local", "box"))
    assert again == ParsedResolvConf(
        ("127.18.0.53", "10.0.0.1"), (*marked(SEARCH), "corp.example"), ("edns0", "ndots:2"), ()
    )


def test_search_domains_are_marked_by_their_place() -> None:
    assert marked(SEARCH) == ("shop.svc.cluster.Local", "svc.cluster.lOcal", "cluster.LOcal")
    assert tuple(domain.lower() for domain in marked(SEARCH)) == SEARCH
    assert marked(("k8s",)) == ("K8s",)


def test_search_domains_that_systemd_resolved_appends_are_as_given() -> None:
    text = render(parse(b"nameserver 127.0.0.53\n"), (), SEARCH, "cluster.local", "box").decode()
    assert f"search {' '.join(SEARCH)}\n" in text
