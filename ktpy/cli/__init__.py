"""Each module is one command: it parses, calls a session and renders."""

from ktpy.library import without

with without("uuid"):  # a type of options that ktpy has none of
    import click  # noqa: F401 - first here
