"""Which versions of Kubernetes ktpy works with. Pure."""

import re
from typing import Final, Literal

OLDEST_MINOR: Final = 26
"""ktpy's Job has a `podFailurePolicy`, which API servers keep since 1.26."""
TESTED_MINOR: Final = 37
OLDEST: Final = f"1.{OLDEST_MINOR}"
NEWEST: Final = f"1.{TESTED_MINOR}"

Support = Literal["supported", "older", "newer", "unknown"]


def support_of(version: str) -> Support:
    """Return how a version, such as v1.36.3, stands to those that are supported; newer ones have not been tested."""
    if not (found := re.match(r"v1\.(\d+)", version)):
        return "unknown"
    minor = int(found[1])
    return "older" if minor < OLDEST_MINOR else "newer" if minor > TESTED_MINOR else "supported"
