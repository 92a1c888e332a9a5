"""What keeps a figure from being measured."""

from tests.lab import LabError


class BenchError(LabError):
    """One sentence for the report: the row it belongs to is left out, the others are measured."""
