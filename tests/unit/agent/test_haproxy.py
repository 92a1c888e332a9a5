from ktpy_agent.haproxy import first_complaint, worker_pids


def test_the_first_complaint_without_place_and_process() -> None:
    output = (
        "[NOTICE]   (3) : haproxy version is 2.6.12\n"
        "[ALERT]    (3) : config : parsing [/run/ktpy/haproxy.new:44] : error detected while parsing ACL 'x' : regex\n"
        "[ALERT]    (3) : config : Fatal errors found in configuration.\n"
    )
    assert first_complaint(output) == "error detected while parsing ACL 'x' : regex"
    assert first_complaint("") == "no reason given"


def test_the_present_worker_comes_first() -> None:
    answer = """\
#<PID>          <type>          <reloads>       <uptime>        <version>
31565           master          3 [failed: 0]   0d00h00m04s     2.6.12-1+deb12u4
# workers
32510           worker          0               0d00h00m01s     2.6.12-1+deb12u4
# old workers
32287           worker          1               0d00h00m01s     2.6.12-1+deb12u4
# programs

"""
    assert worker_pids(answer) == [32510, 32287]
