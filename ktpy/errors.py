"""This module defines every failure ktpy can explain, each with a stable exit code.

Exit codes are part of the command line's contract: scripts may rely on them, so a code is never reused.
0 is success, 1 an unexpected failure, 2 a usage error (click), 128+N an interruption by signal N.
"""

from collections.abc import Iterable
from typing import ClassVar, Self


class KtpyError(Exception):
    """A KtpyError is a failure with a message for the user. A subclass states its exit code, or inherits one.

    `message` is one clear sentence: what is wrong and what ktpy did about it.
    `hint` says what to do next, and may span lines (a YAML rule, a command).
    `is_transient` says that the same attempt may succeed later, with nothing changed by the user.
    """

    exit_code: ClassVar[int] = 1
    is_transient: ClassVar[bool] = False

    def __init_subclass__(cls, *, exit_code: int | None = None, is_transient: bool | None = None) -> None:
        if exit_code is not None:
            cls.exit_code = exit_code
        if is_transient is not None:
            cls.is_transient = is_transient

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def with_hint(self, hint: str | None) -> Self:
        """Return the same failure with another hint; this one stays as it is."""
        return type(self)(self.message, hint=hint)


class UsageError(KtpyError):
    """What the user wrote means nothing, as only the cluster could tell."""

    exit_code = 2


def of_code(exit_code: int, message: str, hint: str | None = None) -> KtpyError:
    """Return the failure that another process of ktpy's has told; of a code that is nobody's, a KtpyError."""
    kinds = {one.exit_code: one for one in KtpyError.__subclasses__() if one.__module__ == __name__}
    return kinds.get(exit_code, KtpyError)(message, hint=hint)


def unknown(sentence: str, word: str, known: Iterable[str]) -> UsageError:
    """Return the error for a word that is none of those known; its hint is the one that may be meant, or all."""
    from difflib import get_close_matches  # not before something is wrong

    words = {one.lower(): one for one in known}
    close = get_close_matches(word.lower(), words, 1)
    hint = f"{words[close[0]]} is meant?" if close else f"Known are: {', '.join(sorted(words.values()))}."
    return UsageError(f"{sentence}.", hint=hint)


# --- reaching the cluster


class KubeconfigMissing(KtpyError, exit_code=10):
    """The kubeconfig is absent, unreadable or malformed."""


class ContextUnknown(KtpyError, exit_code=11):
    """The kubeconfig has no such context, or no current one."""


class ApiUnreachable(KtpyError, exit_code=12, is_transient=True):
    """The API server does not answer: connection, TLS or time-out."""


class Unauthorized(KtpyError, exit_code=13):
    """The API server does not accept the credentials (HTTP 401), or the credential plugin failed."""


class Forbidden(KtpyError, exit_code=14):
    """RBAC denies a request ktpy needs (HTTP 403). The hint holds the missing rule as YAML."""


class NamespaceAbsent(KtpyError, exit_code=15):
    """The namespace does not exist, or is being deleted."""


class ApiRefused(KtpyError, exit_code=16):
    """The API server refused a request for a reason that has no class of its own."""


# --- the pod


class PodUnschedulable(KtpyError, exit_code=20):
    """No node takes the pod."""


class ImagePullFailed(KtpyError, exit_code=21):
    """The node cannot pull the agent image."""


class QuotaExceeded(KtpyError, exit_code=22):
    """A ResourceQuota or LimitRange refuses the pod."""


class PodSecurityRefused(KtpyError, exit_code=23):
    """Pod Security admission, or another admission policy, refuses the pod."""


class PodNotReady(KtpyError, exit_code=24, is_transient=True):
    """The pod did not accept an SSH session within the time allowed."""


class PodFailed(KtpyError, exit_code=25):
    """The pod ended or crashes."""


# --- the laptop


class RangeOverlap(KtpyError, exit_code=30):
    """A cluster range overlaps a local network."""


class AlreadyConnected(KtpyError, exit_code=31):
    """This user is already connected to this cluster."""


class TunUnavailable(KtpyError, exit_code=32):
    """The TUN device cannot be opened."""


class PrivilegeMissing(KtpyError, exit_code=33):
    """ktpy is not root and sudo is absent or refuses."""


class ResolverNotWritable(KtpyError, exit_code=34):
    """The system's resolver cannot be set up."""


class HelperFailed(KtpyError, exit_code=35):
    """The privileged helper refused a request or died."""


class NotConnected(KtpyError, exit_code=36):
    """The command needs a running `ktpy connect`."""


class FolderNotWritable(KtpyError, exit_code=37):
    """A folder in which ktpy keeps the user's sessions, or how to undo its changes, cannot be made or written."""


class LocalPortTaken(KtpyError, exit_code=38):
    """A port of the laptop that the proxy, or `--publish`, was to have cannot be had."""


class NamespacesForbidden(KtpyError, exit_code=39):
    """This machine does not let a user make a network for one program (user namespaces, or its TUN device)."""


# --- the link


class LinkLost(KtpyError, exit_code=40, is_transient=True):
    """The tunnel to the cluster broke."""


class LinkSilent(LinkLost):
    """Nothing came over the tunnel for too long, so that other connections may be as dead."""


class HostKeyMismatch(KtpyError, exit_code=41):
    """The SSH host key is not the one the pod printed in its log."""


# --- intercepts: exchange, mesh, preview


class TargetAbsent(KtpyError, exit_code=50):
    """There is no such service, or nothing that leads to the workload."""


class TargetAmbiguous(KtpyError, exit_code=51):
    """Several services lead to the workload. The hint lists them."""


class TargetUnsuitable(KtpyError, exit_code=52):
    """The service, or the port, cannot be intercepted in this way."""


class PortUnknown(KtpyError, exit_code=53):
    """The service has no such port. The hint lists those it has."""


class RouteTaken(KtpyError, exit_code=54):
    """Somebody, whom the message names, has the same port or the same match already."""


class NameTaken(KtpyError, exit_code=55):
    """An object of the name that is needed exists and is not of this use."""


class GatewayMismatch(KtpyError, exit_code=56):
    """The gateway that others are using does not fit what is asked for."""


class SessionLost(KtpyError, exit_code=57):
    """The session was not heard from for so long that others have cleaned up after it."""


class SessionsLive(KtpyError, exit_code=58):
    """Live sessions, which the message names, use what should be repaired or removed."""


class RestoreIncomplete(KtpyError, exit_code=59):
    """The service could not be given back in time; what is left keeps serving, and `clean` finishes later."""


class InterceptAbsent(KtpyError, exit_code=60):
    """This user has no such intercept on this laptop."""


class LogAbsent(KtpyError, exit_code=62):
    """No session of this name has run in the background."""


class CommandAbsent(KtpyError, exit_code=61):
    """The command after `--` is not there, or cannot be executed."""


class SyncFailed(KtpyError, exit_code=63):
    """A folder cannot be synchronized, or something in it."""


class CheckFailed(KtpyError, exit_code=64):
    """`ktpy doctor` has found what keeps ktpy from working."""


class ImageNotBuilt(KtpyError, exit_code=65):
    """The agent image cannot be built on this laptop."""


class RegistryUnreachable(KtpyError, exit_code=66, is_transient=True):
    """A registry does not answer: connection, TLS or time-out."""


class RegistryRefused(KtpyError, exit_code=67):
    """A registry refuses an image, or there is no login that it accepts."""


class ImageNotLoaded(KtpyError, exit_code=68):
    """There is no cluster here to load the image into, or its own command fails."""


class CommandEnded(KtpyError, exit_code=69):
    """A command that `ktpy up` began has ended by itself, and not well."""


class Busy(KtpyError, exit_code=70):
    """What this user may do once at a time is being done."""


class SessionSilent(KtpyError, exit_code=71):
    """A session on this laptop does not answer, as its process is stopped or hangs."""


class SessionEnded(KtpyError, exit_code=72):
    """Somebody has ended a session, or its time was over, while the program that began it went on with it."""


class LibraryAbsent(KtpyError, exit_code=73):
    """A command needs a library that ktpy alone does not, and that is not installed."""


class ProgramAbsent(KtpyError, exit_code=127):
    """The program for `ktpy run` is not there; a shell has the same exit code."""


class ProgramNotExecutable(KtpyError, exit_code=126):
    """The program for `ktpy run` cannot be executed; a shell has the same exit code."""
