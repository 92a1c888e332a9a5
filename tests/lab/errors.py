"""The one failure of the lab: a sentence for whoever ran the command."""


class LabError(Exception):
    """Something the lab needs is missing or did not happen; the message says what, and what to look at."""
