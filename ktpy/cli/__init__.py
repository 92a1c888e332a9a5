"""Each module is one command: it parses, calls a session and renders."""

from ktpy.library import without

with without("uuid", "bz2", "lzma"):  # a type of options, and archives, of which ktpy has none
    import shutil  # noqa: F401 - how wide help may be

    import click  # noqa: F401 - first here
