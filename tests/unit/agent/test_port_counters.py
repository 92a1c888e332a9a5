from ktpy_agent.counters import Count, Counters
from ktpy_agent.port_counters import PortCounters
from ktpy_agent.routes import Route

from ktpy.wire.gateway import Port
from ktpy.wire.route import RouteCounters, ServicePort

WEB = Port(80, "http", 8080, "TCP", http=True)
AMY = Route(1, "s1", "amy", WEB, None, fails_when_down=False, token="a1")
BOB = AMY._replace(serial=2, session="s2", owner="bob")
TAP = AMY._replace(serial=3, session="s3", copied_percent=50)
PORT = ServicePort(80)


def test_several_matches_on_a_port_count_together_and_are_up_when_each_is() -> None:
    counters = Counters()
    ports = PortCounters(counters)
    other = AMY._replace(serial=4)
    ports.add([AMY, other])
    ports.begin("s1", [AMY, other])
    counters.add("test", {"route1": Count(3, 1), "route4": Count(2, 0)}, {"route1", "route4"})
    assert ports.of_sessions([AMY, other], lambda _: True) == {"s1": {PORT: RouteCounters(5, 1, is_up=True, passed=6)}}
    assert not ports.of_sessions([AMY, other], lambda route: route == AMY)["s1"][PORT].is_up


def test_what_has_passed_is_everybodys_since_the_session_began_without_copies() -> None:
    counters = Counters()
    ports = PortCounters(counters)
    ports.add([AMY])
    ports.begin("s1", [AMY])
    counters.add("test", {"route1": Count(3, 0), "origin80": Count(0, 4)}, ())
    ports.add([BOB, TAP])
    ports.begin("s2", [BOB])
    ports.begin("s3", [TAP])
    ports.end("s1")  # what it answered has passed nevertheless
    counters.add("test", {"route2": Count(1, 0), "route3": Count(5, 0, 6, 7)}, ())
    assert ports.of_sessions([BOB, TAP], lambda _: False) == {
        "s2": {PORT: RouteCounters(1, passed=1)},
        "s3": {PORT: RouteCounters(5, passed=1, dropped=6, skipped=7)},
    }
