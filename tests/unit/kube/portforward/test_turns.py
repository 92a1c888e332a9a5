from ktpy.kube.portforward.turns import LONG_BYTES, SHORT_BYTES, SHORT_FOR_S, SHORT_REST_S, Turns


def test_turns_are_short_for_a_while() -> None:
    now_s = 0.0
    turns = Turns(lambda: now_s)
    assert (turns.most_bytes, turns.rest_s) == (LONG_BYTES, 0.0)
    for _ in range(2):
        turns.shorten()
        now_s += 0.9 * SHORT_FOR_S
        assert (turns.most_bytes, turns.rest_s) == (SHORT_BYTES, SHORT_REST_S)
    now_s += 0.2 * SHORT_FOR_S
    assert (turns.most_bytes, turns.rest_s) == (LONG_BYTES, 0.0)
