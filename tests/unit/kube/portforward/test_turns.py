from ktpy.kube.portforward.turns import LONG_BYTES, SHORT_BYTES, SHORT_FOR_S, Turns


def test_turns_are_short_for_a_while() -> None:
    now_s = 0.0
    turns = Turns(lambda: now_s)
    assert turns.most_bytes == LONG_BYTES
    for _ in range(2):
        turns.shorten()
        now_s += 0.9 * SHORT_FOR_S
        assert turns.most_bytes == SHORT_BYTES
    now_s += 0.2 * SHORT_FOR_S
    assert turns.most_bytes == LONG_BYTES
