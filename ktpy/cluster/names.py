"""The names, labels and annotation keys of ktpy's objects in the cluster."""

import hashlib
import re
import secrets
from collections.abc import Mapping

from ktpy.wire.pod import AUTHORIZED_KEY_PREFIX, DOMAIN, GATEWAY_ANNOTATION

MANAGED_BY = "app.kubernetes.io/managed-by"
APP_NAME = "app.kubernetes.io/name"
ROLE = f"{DOMAIN}/role"
OWNER = f"{DOMAIN}/owner"
"""As an annotation it is the name as it is, which a label cannot always hold."""
SESSION = f"{DOMAIN}/session"
TARGET = f"{DOMAIN}/target"
"""The Service that is intercepted, or previewed."""
GATEWAY = GATEWAY_ANNOTATION
"""The intercepted Service selects by this label. As an annotation of the gateway's pods it says what they relay."""
INTERCEPTED = f"{DOMAIN}/intercepted"
"""This annotation of an intercepted Service holds its own selector, and the sessions."""

DESCRIPTION = f"{DOMAIN}/description"
"""This annotation of a session's Lease, or of its Job, says what it does, for `ktpy list` and `who`."""
DETAILS = f"{DOMAIN}/details"
"""The same as data, in JSON."""
LOCAL_DOWN = f"{DOMAIN}/local-down"
"""This annotation of a session's Lease names the ports of the Service whose local ports do not answer, with blanks."""

_HELD_BY = f"{DOMAIN}/held-by."
NAME_MAX = 63
"""The length of a Service's name has this limit (RFC 1035, section 2.3.4)."""
_LABEL_VALUE_MAX = 63  # https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
_NOT_ALPHANUMERIC_AT_THE_ENDS = re.compile(r"^[^A-Za-z0-9]+|[^A-Za-z0-9]+$")


def new_session_id() -> str:
    """Make an id of ten hexadecimal digits: unique among the sessions of a cluster, and short enough to read aloud."""
    return secrets.token_hex(5)


def owner_label(user: str) -> str:
    """Turn a user name (`alice@example.org`, `system:serviceaccount:a:b`, `ACME\\bob`) into a legal label value."""
    legal = re.sub(r"[^A-Za-z0-9._-]+", "-", user)[:_LABEL_VALUE_MAX]
    return _NOT_ALPHANUMERIC_AT_THE_ENDS.sub("", legal) or "unknown"


def authorized_key_annotation(session: str) -> str:
    """Return the annotation of the agent's pod that holds a session's public key."""
    return f"{AUTHORIZED_KEY_PREFIX}{session}"


def authorized_sessions(annotations: Mapping[str, str]) -> frozenset[str]:
    """Return the sessions whose keys an agent's pod lets in."""
    return frozenset(
        key.removeprefix(AUTHORIZED_KEY_PREFIX) for key in annotations if key.startswith(AUTHORIZED_KEY_PREFIX)
    )


def holder_annotation(session: str) -> str:
    """Return the annotation by which a session says that it uses a shared object; the value is its owner."""
    return f"{_HELD_BY}{session}"


def holders(annotations: Mapping[str, str]) -> dict[str, str]:
    """Return the sessions that use a shared object, and their owners."""
    return {key.removeprefix(_HELD_BY): owner for key, owner in annotations.items() if key.startswith(_HELD_BY)}


def shadow_name(session: str) -> str:
    """Name the Job. The laptop chooses its name, so that it can delete it when the reply to its creation was lost."""
    return f"ktpy-shadow-{session}"


def gateway_name(service: str) -> str:
    """Name the Deployment in front of an intercepted Service: the same for everybody, so that the second one joins."""
    return derived(service, "-ktpy-gateway")


def origin_name(service: str) -> str:
    """Name the Service that leads to the original pods."""
    return derived(service, "-ktpy-origin")


def lease_name(session: str) -> str:
    """Name the Lease that a live session renews."""
    return f"ktpy-{session}"


def labels(role: str, *, owner: str, session: str, target: str | None = None) -> dict[str, str]:
    """Return the labels of every object of ktpy, by which `kubectl get -l` and `ktpy clean` find it."""
    return {
        MANAGED_BY: "ktpy",
        APP_NAME: f"ktpy-{role}",
        ROLE: role,
        OWNER: owner_label(owner),
        SESSION: session,
    } | ({TARGET: target} if target is not None else {})


def derived(service: str, suffix: str) -> str:
    """Append a suffix to `service`; where that is too long, a hash stands for the end of the name.

    A name that begins with a digit, as Kubernetes takes for Services since 1.37, gets a letter first, for the others.
    """
    if service[:1].isalpha() and len(service) + len(suffix) <= NAME_MAX:
        return service + suffix
    digest = hashlib.sha256(service.encode()).hexdigest()[:8]
    service = service if service[:1].isalpha() else f"s{service}"
    kept = service[: NAME_MAX - len(suffix) - len(digest) - 1].rstrip("-")
    return f"{kept}-{digest}{suffix}"
