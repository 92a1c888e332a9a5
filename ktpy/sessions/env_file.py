"""Files of variables: a line NAME=VALUE each, as `docker run --env-file` reads them; # begins a comment."""

from pathlib import Path


def read(path: Path) -> dict[str, str]:
    """Return the variables. Raises OSError, and ValueError for a line that is none; what is no UTF-8 stays as it is."""
    lines = path.read_text(errors="surrogateescape").splitlines()
    return dict(assignment(line) for one in lines if (line := one.lstrip()) and not line.startswith("#"))


def assignment(text: str) -> tuple[str, str]:
    """Read NAME=VALUE. Raises ValueError."""
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise ValueError(f"{text!r} is not NAME=VALUE.")
    return name, value
