"""This module defines every failure ktpy can explain, each with a stable exit code.

Exit codes are part of the command line's contract: scripts may rely on them, so a code is never reused.
0 is success, 1 an unexpected failure, 2 a usage error (click), 128+N an interruption by signal N.
"""

from typing import ClassVar, Self


class KtpyError(Exception):
    """A KtpyError is a failure with a message for the user.

    `message` is one clear sentence: what is wrong and what ktpy did about it.
    `hint` says what to do next, and may span lines (a YAML rule, a command).
    `is_transient` says that the same attempt may succeed later, with nothing changed by the user.
    """

    exit_code: ClassVar[int] = 1
    is_transient: ClassVar[bool] = False

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


# --- reaching the cluster


class KubeconfigMissing(KtpyError):
    """The kubeconfig is absent, unreadable or malformed."""

    exit_code = 10


class ContextUnknown(KtpyError):
    """The kubeconfig has no such context, or no current one."""

    exit_code = 11


class ApiUnreachable(KtpyError):
    """The API server does not answer: connection, TLS or time-out."""

    exit_code = 12
    is_transient = True


class Unauthorized(KtpyError):
    """The API server does not accept the credentials (HTTP 401), or the credential plugin failed."""

    exit_code = 13


class Forbidden(KtpyError):
    """RBAC denies a request ktpy needs (HTTP 403). The hint holds the missing rule as YAML."""

    exit_code = 14


class NamespaceAbsent(KtpyError):
    """The namespace does not exist, or is being deleted."""

    exit_code = 15


class ApiRefused(KtpyError):
    """The API server refused a request for a reason that has no class of its own."""

    exit_code = 16


# --- the pod


class PodUnschedulable(KtpyError):
    """No node takes the pod."""

    exit_code = 20


class ImagePullFailed(KtpyError):
    """The node cannot pull the agent image."""

    exit_code = 21


class QuotaExceeded(KtpyError):
    """A ResourceQuota or LimitRange refuses the pod."""

    exit_code = 22


class PodSecurityRefused(KtpyError):
    """Pod Security admission, or another admission policy, refuses the pod."""

    exit_code = 23


class PodNotReady(KtpyError):
    """The pod did not accept an SSH session within the time allowed."""

    exit_code = 24
    is_transient = True


class PodFailed(KtpyError):
    """The pod ended or crashes."""

    exit_code = 25


# --- the laptop


class RangeOverlap(KtpyError):
    """A cluster range overlaps a local network."""

    exit_code = 30


class AlreadyConnected(KtpyError):
    """This user is already connected to this cluster."""

    exit_code = 31


class TunUnavailable(KtpyError):
    """The TUN device cannot be opened."""

    exit_code = 32


class PrivilegeMissing(KtpyError):
    """ktpy is not root and sudo is absent or refuses."""

    exit_code = 33


class ResolverNotWritable(KtpyError):
    """The system's resolver cannot be set up."""

    exit_code = 34


class HelperFailed(KtpyError):
    """The privileged helper refused a request or died."""

    exit_code = 35


class NotConnected(KtpyError):
    """The command needs a running `ktpy connect`."""

    exit_code = 36


# --- the link


class LinkLost(KtpyError):
    """The tunnel to the cluster broke."""

    exit_code = 40
    is_transient = True


class HostKeyMismatch(KtpyError):
    """The SSH host key is not the one the pod printed in its log."""

    exit_code = 41


# --- intercepts: exchange, mesh, preview


class TargetAbsent(KtpyError):
    """There is no such service, or nothing that leads to the workload."""

    exit_code = 50


class TargetAmbiguous(KtpyError):
    """Several services lead to the workload. The hint lists them."""

    exit_code = 51


class TargetUnsuitable(KtpyError):
    """The service, or the port, cannot be intercepted in this way."""

    exit_code = 52


class PortUnknown(KtpyError):
    """The service has no such port. The hint lists those it has."""

    exit_code = 53


class RouteTaken(KtpyError):
    """Somebody, whom the message names, has the same port or the same match already."""

    exit_code = 54


class NameTaken(KtpyError):
    """An object of the name that is needed exists and is not of this use."""

    exit_code = 55


class GatewayMismatch(KtpyError):
    """The gateway that others are using does not fit what is asked for."""

    exit_code = 56


class SessionLost(KtpyError):
    """The session was not heard from for so long that others have cleaned up after it."""

    exit_code = 57


class SessionsLive(KtpyError):
    """Live sessions, which the message names, use what should be repaired or removed."""

    exit_code = 58


class RestoreIncomplete(KtpyError):
    """The service could not be given back in time; what is left keeps serving, and `clean` finishes later."""

    exit_code = 59


class InterceptAbsent(KtpyError):
    """This user has no such intercept on this laptop."""

    exit_code = 60


class CommandAbsent(KtpyError):
    """The command after `--` is not there, or cannot be executed."""

    exit_code = 61
