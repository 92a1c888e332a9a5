"""The errors of `ktpy.errors` for the API server's refusals, made from its HTTP answers. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ktpy.errors import (
    ApiRefused,
    ApiUnreachable,
    Forbidden,
    KtpyError,
    NamespaceAbsent,
    PodSecurityRefused,
    QuotaExceeded,
    Unauthorized,
)
from ktpy.frozen import dataclass
from ktpy.kube.rights import Rule, rule_yaml


class NotFound(ApiRefused):
    """The object, or the whole API, does not exist (404)."""


class Conflict(ApiRefused):
    """The object exists already, or is another than the request names (409; a merge patch with another uid: 422)."""


class AddressTaken(ApiRefused, is_transient=True):
    """A Service asks for a cluster address that another has, or that a deleted one has not given back yet (422)."""


class Gone(ApiRefused):
    """The resource version is too old: list again (410)."""


class Unavailable(ApiUnreachable):
    """The API server answers that it cannot serve now (429 and 5xx): try again later."""


class NeverSent(ApiUnreachable):
    """There was no connection: the API server cannot have done what was asked."""


def may_be_done(error: KtpyError) -> bool:
    """Tell whether the API server may have done what was asked, though `error` was raised."""
    return isinstance(error, ApiUnreachable) and not isinstance(error, NeverSent)


_PATH = re.compile(
    r"/(?:api/[^/]+|apis/(?P<group>[^/]+)/[^/]+)"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/[^/]))?"
    r"/(?P<resource>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<subresource>.+))?)?"
)
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Action:
    """An Action is a request in the terms by which RBAC judges it."""

    verb: str
    group: str
    resource: str
    namespace: str | None

    @classmethod
    def of(cls, method: str, path: str, query: Mapping[str, str] | None = None) -> "Action":
        parts = _PATH.fullmatch(path)
        if parts is None:
            return cls(_VERBS.get(method, "get"), "", path, None)
        verb = _VERBS.get(method)
        if verb is None:
            verb = "get" if parts["name"] else "watch" if query and query.get("watch") else "list"
        resource = f"{parts['resource']}/{parts['subresource']}" if parts["subresource"] else parts["resource"]
        return cls(verb, parts["group"] or "", resource, parts["namespace"])

    def __str__(self) -> str:
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        where = f"in namespace {self.namespace}" if self.namespace else "in the whole cluster"
        return f"{self.verb} {resource} {where}"


def refusal(http_status: int, answer: Mapping[str, Any], action: Action, user: str = "") -> KtpyError:
    """Return the error for an answer that is no success; `answer` is its Status object, or anything with a message."""
    message = str(answer.get("message") or f"HTTP {http_status}")
    found = answer.get("details")
    details = found if isinstance(found, dict) else {}
    if http_status == 401:
        return Unauthorized(
            f"The API server does not accept the credentials of {user or 'this user'}: {_sentence(message)}",
            hint="Log in again, or check the user of this context: kubectl auth whoami",
        )
    if (admission := admission_refusal(message)) is not None:
        return admission
    if http_status == 403 and '"system:anonymous"' in message:
        return Unauthorized(
            "The API server sees no credentials: this context has no user, or one that names none.",
            hint="Check the context's user: kubectl config view --minify",
        )
    if http_status == 403 and " cannot " in message:  # k8s.io/apiserver: User "x" cannot create resource "jobs" ...
        return _forbidden(action, user)
    if http_status == 403 and action.resource in ("pods/portforward", "pods/exec") and _SECOND_LOOK.search(message):
        return _forbidden(replace(action, verb="create"), user)
    if http_status == 404 and details.get("kind") == "namespaces":
        return NamespaceAbsent(
            f"Namespace {details.get('name')} does not exist.",
            hint="Name another with --namespace, or create it.",
        )
    if http_status == 429 or http_status >= 500:
        return Unavailable(f"The API server cannot {action} now: {_sentence(message)}", hint="Try again in a moment.")
    kind = {404: NotFound, 409: Conflict, 410: Gone}.get(http_status, ApiRefused)
    if http_status == 422 and "metadata.uid: Invalid value" in message:  # ValidateObjectMetaUpdate: it is immutable
        kind = Conflict
    if http_status == 422 and "provided IP is already allocated" in message:  # ipallocator.ErrAllocated
        kind = AddressTaken
    return kind(f"The API server refuses to {action}: {_sentence(message)}")


class RightMissing(Forbidden):
    """RBAC denies `action`. The hint asks for the rules that are `missing`, and ends with `advice`."""

    def __init__(self, message: str, *, action: Action, missing: Sequence[Rule], advice: str | None = None) -> None:
        role = f"a Role in namespace {action.namespace}" if action.namespace else "a ClusterRole"
        these = "this rule" if len(missing) == 1 else "these rules"
        asked = [f"Ask for {these} in {role} that is bound to the user:", *map(rule_yaml, missing)]
        super().__init__(message, hint="\n".join([*asked, *([advice] if advice else [])]))
        self.action = action
        self.missing = tuple(missing)


def _forbidden(action: Action, user: str = "") -> RightMissing:
    rule = Rule(action.group, action.resource, (action.verb,))
    return RightMissing(f"{user or 'This user'} may not {action}.", action=action, missing=[rule])


def admission_refusal(message: str) -> KtpyError | None:
    """Return the error for what an admission plugin says, in an answer or an event; None for RBAC's no."""
    if "is being terminated" in message:
        return NamespaceAbsent(
            f"The namespace is being deleted: {_sentence(message)}", hint="Name another with --namespace."
        )
    if "exceeded quota" in message or "failed quota" in message or _LIMIT_RANGE.search(message):
        return QuotaExceeded(
            f"The namespace has no room for what ktpy needs: {_sentence(message)}",
            hint="--pod-overlay FILE gives its container `agent` other resources. "
            "See: kubectl describe resourcequota,limitrange",
        )
    if "violates PodSecurity" in message or "unable to validate against any security context constraint" in message:
        return PodSecurityRefused(
            f"Pod Security refuses ktpy's pod: {_sentence(message)}",
            hint="ktpy's pod meets the level `restricted`: something in the cluster changes pods, or asks for more.",
        )
    if _POLICY.search(message):
        return PodSecurityRefused(
            f"An admission policy refuses ktpy's pod: {_sentence(message)}",
            hint="--pod-overlay FILE gives the pod what the policy demands; or ask whoever runs it for an exception.",
        )
    return None


def _sentence(message: str) -> str:
    return message if message.endswith(".") else f"{message}."


# Since 1.35 Kubernetes asks a second time, for `create` (KEP-4006); that answer names neither user nor verb.
_SECOND_LOOK = re.compile(r"is forbidden: *(?:RBAC: .*)?$")
# k8s.io/kubernetes/plugin/pkg/admission/limitranger
_LIMIT_RANGE = re.compile(r"(?:maximum|minimum) \S+ usage per (?:Container|Pod) is|limit to request ratio per")
# k8s.io/apiserver: webhooks, ValidatingAdmissionPolicy
_POLICY = re.compile(r"admission webhook \S+ denied|ValidatingAdmissionPolicy '[^']*'.* denied request")
