"""The names, labels and annotation keys of ktpy's objects in the cluster."""

import re
import secrets

DOMAIN = "ktpy.dev"

MANAGED_BY = "app.kubernetes.io/managed-by"
APP_NAME = "app.kubernetes.io/name"
ROLE = f"{DOMAIN}/role"
OWNER = f"{DOMAIN}/owner"
SESSION = f"{DOMAIN}/session"

_LABEL_VALUE_MAX = 63  # https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
_NOT_ALPHANUMERIC_AT_THE_ENDS = re.compile(r"^[^A-Za-z0-9]+|[^A-Za-z0-9]+$")


def new_session_id() -> str:
    """Ten hexadecimal digits: unique among the sessions of a cluster, short enough to read aloud."""
    return secrets.token_hex(5)


def owner_label(user: str) -> str:
    """A user name (`alice@example.org`, `system:serviceaccount:a:b`, `ACME\\bob`) as a legal label value."""
    legal = re.sub(r"[^A-Za-z0-9._-]+", "-", user)[:_LABEL_VALUE_MAX]
    return _NOT_ALPHANUMERIC_AT_THE_ENDS.sub("", legal) or "unknown"


def authorized_key_annotation(session: str) -> str:
    """Where a session's public key stands among the annotations of the agent's pod."""
    return f"{DOMAIN}/authorized-key.{session}"


def shadow_name(session: str) -> str:
    """Chosen by the laptop, so that the Job can be deleted even when the reply to its creation was lost."""
    return f"ktpy-shadow-{session}"


def labels(role: str, *, owner: str, session: str) -> dict[str, str]:
    """What every object of ktpy carries, so that `kubectl get -l` and `ktpy clean` find it."""
    return {
        MANAGED_BY: "ktpy",
        APP_NAME: f"ktpy-{role}",
        ROLE: role,
        OWNER: owner_label(owner),
        SESSION: session,
    }
