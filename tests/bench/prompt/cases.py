"""Every row of `scripts/bench prompt`."""

from collections.abc import Iterable
from typing import Final

from tests.bench.cases import AGAINST
from tests.bench.goals import at_most, at_most_times
from tests.bench.samples import Source
from tests.bench.specs import Spec

PYTHON: Final = "python"  # one that does nothing
CPU: Final = "-cpu"
COLD: Final = "tab-services-cold"
LINES: Final = {
    "tab-commands": "ktpy ex",
    "tab-contexts": "ktpy exchange --context l",
    "tab-services": "ktpy exchange web-1",
    "tab-ports": "ktpy exchange web-1 -e 3001:",
    "tab-sessions": "ktpy leave w",
    COLD: "ktpy exchange web-1",
}
"""What is typed before the Tab. All but one are warm: it was pressed before."""
HELP: Final = "help"
HELP_AGAINST: Final = "help-against"

PROMPT = [
    spec
    for figure in (HELP, *LINES)
    for spec in (
        Spec(figure, "ms", Source(PYTHON, figure), at_most(150) if figure not in (HELP, COLD) else None),
        Spec(figure + CPU, "ms", Source(PYTHON, figure + CPU)),
    )
]


def against(specs: Iterable[Spec]) -> list[Spec]:
    """The rows, and those that compare `ktpy --help` with another revision's."""
    figures = (HELP_AGAINST, HELP_AGAINST + CPU)
    return [*specs, *(Spec(one, "ms", Source(AGAINST, one), at_most_times(1), is_paired=True) for one in figures)]
