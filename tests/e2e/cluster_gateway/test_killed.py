"""Dying at every step of entry and exit, and being cleaned up after; the service answers throughout."""

import signal

import pytest

from tests.e2e.cluster_gateway.people import ENTRY, EXIT, clean, leftovers, probe, selector, staying
from tests.lab import Lab


@pytest.mark.parametrize("step", ENTRY)
def test_killed_after_each_step_of_entry(undisturbed: Lab, step: str) -> None:
    told = probe(undisturbed, "enter", "web", "--kill-after", step)
    assert told[-1]["step"] == step
    clean(undisturbed)


@pytest.mark.parametrize("step", EXIT)
def test_killed_after_each_step_of_exit(undisturbed: Lab, step: str) -> None:
    told = probe(undisturbed, "enter", "web", "--kill-in-exit", step)
    assert told[-1]["step"] == step
    clean(undisturbed)


def test_the_next_one_takes_over_from_one_who_was_killed(undisturbed: Lab) -> None:
    probe(undisturbed, "enter", "web", "--kill-after", ENTRY[-1])
    with staying(undisturbed) as somebody:
        clean(undisturbed)
        assert selector(undisturbed) == {"ktpy.dev/gateway": "web"}
        somebody.leave()


def test_frozen_for_long_and_cleaned_away(undisturbed: Lab) -> None:
    """A laptop that comes back learns that it has been given up."""
    with staying(undisturbed) as somebody:
        somebody.signal(signal.SIGSTOP)
        clean(undisturbed)
        assert leftovers(undisturbed) == []
        somebody.signal(signal.SIGCONT)
        assert somebody.last_words()["error"] == "SessionLost"
