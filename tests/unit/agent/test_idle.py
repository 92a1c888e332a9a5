from ktpy_agent.idle import IdleTimer


def test_time_counts_from_the_start() -> None:
    idle = IdleTimer(60.0, now_s=1000.0)
    assert not idle.observe(0, 1059.9)
    assert idle.observe(0, 1060.0)


def test_a_live_session_is_never_idle() -> None:
    idle = IdleTimer(60.0, now_s=1000.0)
    assert not idle.observe(1, 1030.0)
    assert not idle.observe(2, 9999.0)


def test_time_counts_anew_from_the_moment_the_last_session_is_missed() -> None:
    idle = IdleTimer(60.0, now_s=1000.0)
    idle.observe(1, 1059.0)
    assert not idle.observe(0, 1100.0)
    assert not idle.observe(0, 1159.9)
    assert idle.observe(0, 1160.0)


def test_a_session_in_between_starts_the_count_again() -> None:
    idle = IdleTimer(60.0, now_s=1000.0)
    idle.observe(0, 1059.0)
    idle.observe(1, 1059.5)
    assert not idle.observe(0, 1061.0)
