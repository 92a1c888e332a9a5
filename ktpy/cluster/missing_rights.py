"""When a right is refused, all that are missing are named at once, not one at each try."""

import asyncio
import shlex
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

from ktpy.aio.task_group import first_failure
from ktpy.cluster.rbac import CONNECT, DEV, FROM_POD, RUN
from ktpy.errors import KtpyError
from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from ktpy.kube.refusals import RightMissing
from ktpy.kube.rights import Rule

_OPTIONS = {"--run": RUN, "--from-pod": FROM_POD, "--dev": DEV}
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@asynccontextmanager
async def naming_all_missing(api: Api, needed: Iterable[Rule]) -> AsyncIterator[None]:
    """Raise, in place of a denial by RBAC that ends the block, one that names all rights of `needed` that are missing.

    `api` has to be open still when the block ends.
    """
    try:
        yield
    except Exception as error:
        if isinstance(failure := first_failure(error), RightMissing):
            raise await with_all_missing(api, failure, needed) from error
        raise


async def with_all_missing(api: Api, failure: KtpyError, needed: Iterable[Rule]) -> KtpyError:
    """Return a denial with all rights of `needed` that the user lacks, and the command for an administrator.

    Another failure is returned as it is.

    They are those of the denial's namespace. Where the API server cannot tell all that the user may (another authorizer
    than RBAC decides too), or where the whole cluster is meant, it is the one that was refused.
    """
    if not isinstance(failure, RightMissing):
        return failure
    action, needed = failure.action, tuple(needed)
    missing = list(failure.missing)
    if action.namespace is not None:
        with suppress(KtpyError):
            missing += missing_of(needed, await granted(api, action.namespace))
    user = await user_or_blank(api)
    options = [option for option, rules in _OPTIONS.items() if set(rules) <= set(needed)]
    option = [] if needed == CONNECT else options or ["--intercept"]
    command = shlex.join(["ktpy", "rbac", action.namespace or api.namespace, user, *option])
    return RightMissing(
        failure.message,
        action=action,
        missing=_merged(missing),
        advice=f"An administrator grants all that ktpy uses by: {command} | kubectl apply -f -",
    )


async def user_name(api: Api) -> str:
    """Return whom the API server takes this user for."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = await api.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=review)
    return str(answer["status"]["userInfo"]["username"])


async def user_or_blank(api: Api) -> str:
    """Return the same, or a word to be replaced: before Kubernetes 1.28 the API server does not tell."""
    with suppress(KtpyError):
        return await user_name(api)
    return "USER"


async def granted(api: Api, namespace: str) -> list[Json] | None:
    """Return the ResourceRules (authorization.k8s.io/v1) of this user in a namespace; None where some may be hidden."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    status = (await api.request("POST", REVIEWS, body=review))["status"]
    return None if status.get("incomplete") else list(status.get("resourceRules") or ())


async def refused_of(api: Api, needed: Iterable[Rule]) -> tuple[Rule, ...]:
    """Return what of `needed` is refused in the API's namespace, asked one by one: whoever decides."""
    single = [Rule(rule.group, rule.resource, (verb,)) for rule in needed for verb in rule.verbs]
    answers = await asyncio.gather(*(_may(api, rule) for rule in single))
    return _merged(rule for rule, is_allowed in zip(single, answers, strict=True) if not is_allowed)


async def _may(api: Api, rule: Rule) -> bool:
    resource, _, subresource = rule.resource.partition("/")
    asked = {"namespace": api.namespace, "verb": rule.verbs[0], "group": rule.group, "resource": resource}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked | ({"subresource": subresource} if subresource else {})},
    }
    return bool((await api.request("POST", ACCESS_REVIEWS, body=review))["status"].get("allowed"))


def missing_of(needed: Iterable[Rule], granted: list[Json] | None) -> tuple[Rule, ...]:
    """Return what of `needed` is not granted; nothing where the API server does not tell."""
    missing = [
        Rule(rule.group, rule.resource, (verb,))
        for rule in needed
        for verb in rule.verbs
        if granted is not None and not any(_grants(one, rule, verb) for one in granted)
    ]
    return _merged(missing)


def _grants(granted: Json, rule: Rule, verb: str) -> bool:
    """Return whether a ResourceRule grants a verb for all objects of the resource."""
    _, slash, subresource = rule.resource.partition("/")
    names = {rule.resource, "*", *([f"*/{subresource}"] if slash else [])}
    return bool(
        not granted.get("resourceNames")
        and {rule.group, "*"} & set(granted.get("apiGroups") or ())
        and names & set(granted.get("resources") or ())
        and {verb, "*"} & set(granted.get("verbs") or ())
    )


def _merged(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Return one rule for each resource."""
    verbs: dict[tuple[str, str], dict[str, None]] = {}
    for rule in rules:
        verbs.setdefault((rule.group, rule.resource), {}).update(dict.fromkeys(rule.verbs))
    return tuple(Rule(group, resource, tuple(found)) for (group, resource), found in verbs.items())
