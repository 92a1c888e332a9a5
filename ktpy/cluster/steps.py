"""Changes in the cluster as rows of named steps: for progress, and for tests that stop after each of them."""

from collections.abc import Awaitable, Callable, Iterable

from ktpy.frozen import dataclass
from ktpy.observe.trace import traced


@dataclass(frozen=True, slots=True)
class Step:
    """A Step is one change, or one wait."""

    name: str
    run: Callable[[], Awaitable[object]]
    """False says that nothing had to be done."""


async def run_steps(steps: Iterable[Step], on_done: Callable[[str], None] = lambda _: None) -> None:
    """Run the steps in order; `on_done` gets the name of each that did something. What one raises ends the row."""
    for step in steps:
        with traced("step", step.name):
            done = await step.run()
        if done is not False:
            on_done(step.name)


async def nothing() -> None:
    """Do nothing, as a step."""
