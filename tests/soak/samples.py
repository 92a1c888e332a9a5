"""What was sampled, and the file it goes to."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Series:
    """A figure of somebody: `rss_mb` of `exchange`."""

    who: str
    figure: str


@dataclass(frozen=True, slots=True)
class Sample:
    """`at_s` is since the soak began."""

    at_s: float
    series: Series
    value: float


class SampleFile:
    """A CSV with a line for each sample, there as soon as it was taken."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("w", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow(["at_s", "who", "figure", "value"])

    def write(self, samples: Iterable[Sample]) -> None:
        self._writer.writerows(
            (f"{one.at_s:.1f}", one.series.who, one.series.figure, f"{one.value:g}") for one in samples
        )
        self._file.flush()

    def close(self) -> None:
        self._file.close()
