import contextlib

import pytest
from ktpy_agent.counters import Count, Counters

HEADER = "# pxname,svname,stot,status,hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other,"


def show_stat(*rows: str) -> str:
    return "\n".join([HEADER, *rows, ""])


def http(proxy: str, server: str, answered: int, status: str = "UP") -> str:
    return f"{proxy},{server},99,{status},0,{answered - 2},0,1,1,0,"


def test_answers_of_both_http_versions_count_together() -> None:
    counters = Counters()
    text = show_stat(
        http("route3_h1", "local", 10),
        http("route3_h1", "origin", 4, "no check"),
        http("route3_h2", "local", 5),
        http("route3_h2", "origin", 2, "no check"),
        http("origin80_h1", "origin", 70, "no check"),
    )
    counters.update({1: text})
    assert counters.count("route3") == Count(15, 6)
    assert counters.is_up("route3")


def test_a_route_is_up_when_it_is_for_both_http_versions() -> None:
    counters = Counters()
    counters.update({1: show_stat(http("route3_h1", "local", 10, "DOWN"), http("route3_h2", "local", 5))})
    assert not counters.is_up("route3")


def test_connections_count_where_there_are_no_answers() -> None:
    counters = Counters()
    counters.update({1: show_stat("route3_tcp,local,7,DOWN,,,,,,,", "route3_tcp,origin,2,no check,,,,,,,")})
    assert counters.count("route3") == Count(7, 2)
    assert not counters.is_up("route3")


def test_an_unknown_route_has_none() -> None:
    counters = Counters()
    counters.update({})
    counters.update({1: ""})
    assert counters.count("route3") == Count(0, 0)
    assert not counters.is_up("route3")


def test_workers_that_retire_still_count_and_are_counted_when_they_have_ended() -> None:
    counters = Counters()
    counters.update({1: show_stat(http("route3_h1", "local", 10))})
    counters.update({2: show_stat(http("route3_h1", "local", 3)), 1: show_stat(http("route3_h1", "local", 12))})
    assert counters.count("route3") == Count(15, 0)
    counters.update({2: show_stat(http("route3_h1", "local", 4))})
    assert counters.count("route3") == Count(16, 0)
    counters.update({2: show_stat(http("route3_h1", "local", 5))})
    assert counters.count("route3") == Count(17, 0)


def test_the_newest_worker_knows_what_is_up() -> None:
    counters = Counters()
    new, old = show_stat(http("route3_h1", "local", 3, "DOWN")), show_stat(http("route3_h1", "local", 3, "UP"))
    counters.update({2: new, 1: old})
    assert not counters.is_up("route3")


@pytest.mark.parametrize("kept", range(1, 80))
def test_an_answer_that_is_cut_short_changes_no_count(kept: int) -> None:
    counters = Counters()
    counters.update({1: show_stat(http("route3_h1", "local", 10))})
    whole = show_stat(http("route3_h1", "local", 3))
    cut = whole[: len(whole) - kept]
    with contextlib.suppress(ValueError, LookupError):
        counters.update({2: cut})
    assert counters.count("route3").requests >= 10


def test_what_no_route_takes_is_counted_by_port() -> None:
    counters = Counters()
    counters.update({1: show_stat(http("origin80_h1", "origin", 10), http("next80_h1", "next", 3, "no check"))})
    assert (counters.count("origin80"), counters.count("next80")) == (Count(0, 10), Count(0, 0))


def test_others_than_haproxy_count_beside_it_and_know_what_of_theirs_is_up() -> None:
    counters = Counters()
    counters.add("udp", {"route1": Count(1, 2)}, {"route1"})
    counters.add("tap", {"route2": Count(3, 0, 4, 5)}, {"route2"})
    counters.add("tap", {"route2": Count(1, 0, 1, 1)}, set())
    assert (counters.count("route1"), counters.count("route2")) == (Count(1, 2), Count(4, 0, 5, 6))
    assert (counters.is_up("route1"), counters.is_up("route2")) == (True, False)
