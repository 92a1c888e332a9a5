"""What people read of a soak."""

from tests.lab.sessions.request_log import Visit
from tests.soak import report
from tests.soak.samples import Sample, Series
from tests.soak.tally import Tally
from tests.soak.verdict import Verdict

GATEWAY = "gateway of web: haproxy"


def tally() -> Tally:
    found = Tally("local")
    found.add([Visit(1, 0.25, "local"), Visit(70, 1.5, "OSError()")], [])
    return found


def test_the_line_of_a_minute_has_the_sessions_and_the_requests_but_no_pod() -> None:
    samples = [
        Sample(60, Series(who, figure), value)
        for who, value in (("connect", 71.24), (GATEWAY, 9.0))
        for figure in ("anonymous_mb", "descriptors")
    ]
    assert report.progress(1, 120, samples, {"exchange": tally()}) == (
        "1/120 min  connect 71.2 MB 71 fd; 2 requests, 1 failed (1 lost), the longest took 1.50 s"
    )


def test_the_table_has_whatever_grows_and_what_was_lost() -> None:
    samples = [
        Sample(minute * 60, Series(who, figure), minute if (who, figure) == (GATEWAY, "threads") else 7)
        for minute in range(60)
        for who in ("connect", GATEWAY)
        for figure in ("anonymous_mb", "threads")
    ]
    lines = report.table(Verdict.of(samples, 0, {"exchange": tally()}, ["mesh has ended with 40"])).splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["connect", "gateway"]
    assert [line.endswith("GROWS") for line in lines[1:3]] == [False, True]
    assert lines[3] == ""
    assert "  lost at 70.0 s, after 1.5 s: OSError()" in lines
    assert lines[-2:] == [
        "mesh has ended with 40",
        "Not flat: 1 of 4 figures grow, 1 requests were lost, 1 things went wrong.",
    ]
