"""What keeps a figure from being measured."""


class BenchError(Exception):
    """One sentence for the report: the row it belongs to is left out, the others are measured."""
