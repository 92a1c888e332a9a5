"""For how long what the kubeconfig says of its user will be taken, and whether its credential plugin can be found."""

import base64
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from ktpy.doctor.finding import Finding, State
from ktpy.kube.credentials import file_or_data
from ktpy.kube.objects import Json

SOON: Final = {"token": timedelta(minutes=10), "client certificate": timedelta(days=7)}
"""What expires before this is warned of: of tokens that live an hour, and of certificates that live a year."""
_SUBJECT: Final = "credentials"


def credentials(user: Json) -> list[Finding]:
    """Look at the user's section of the kubeconfig. Raises KubeconfigMissing for a file that cannot be read."""
    now, found = datetime.now(UTC), list[Finding]()
    token = _token(user)
    if token and (expiry := _expiry_of_token(token)):
        found.append(_judge("token", expiry, now))
    if certificate := file_or_data(user, "client-certificate"):
        from cryptography.x509 import load_pem_x509_certificate  # no other command needs it

        try:
            found.append(_judge("client certificate", load_pem_x509_certificate(certificate).not_valid_after_utc, now))
        except ValueError as error:
            found.append(Finding(_SUBJECT, State.FAILED, f"The client certificate cannot be read: {error}."))
    if not token and user.get("exec"):
        found.append(_plugin(user["exec"]))
    return found or [Finding(_SUBJECT, State.OK, "Nothing in the kubeconfig tells that they expire.")]


def _token(user: Json) -> str:
    if user.get("tokenFile"):
        try:
            return Path(user["tokenFile"]).read_text().strip()
        except (OSError, ValueError):  # which the request to the API server tells
            return ""
    provider = (user.get("auth-provider") or {}).get("config") or {}
    return str(user.get("token") or provider.get("id-token") or "")


def _expiry_of_token(token: str) -> datetime | None:
    """Return the `exp` of a JSON Web Token (RFC 7519, section 4.1.4); None of any other token."""
    try:
        payload = token.split(".")[1]
        return datetime.fromtimestamp(json.loads(base64.urlsafe_b64decode(f"{payload}==="))["exp"], UTC)
    except (ValueError, LookupError, TypeError, OverflowError):
        return None


def _judge(what: str, expiry: datetime, now: datetime) -> Finding:
    left = expiry - now
    state = State.FAILED if left <= timedelta(0) else State.WARNING if left < SOON[what] else State.OK
    seen = f"The {what} {'has expired' if state is State.FAILED else 'expires'} at {expiry:%Y-%m-%d %H:%M} UTC."
    mend = "Log in again, or ask whoever runs the cluster for another kubeconfig."
    return Finding(_SUBJECT, state, seen, None if state is State.OK else mend)


def _plugin(plugin: Json) -> Finding:
    command = str(plugin.get("command") or "")
    if (path := shutil.which(command)) is None:
        seen = f"The credential plugin {command or '-'} is not there, or cannot be executed."
        place = "the kubeconfig's own folder" if "/" in command else "the folders of PATH"
        return Finding(_SUBJECT, State.FAILED, seen, plugin.get("installHint") or f"It is looked for in {place}.")
    relative = [one for one in plugin.get("args") or [] if one.startswith(("./", "../"))]
    if relative:
        seen = f"The credential plugin {path} is given {', '.join(relative)}, as seen from where ktpy is started."
        return Finding(_SUBJECT, State.WARNING, seen, "Write the whole path into the kubeconfig.")
    return Finding(_SUBJECT, State.OK, f"The credential plugin {path} gives them.")
