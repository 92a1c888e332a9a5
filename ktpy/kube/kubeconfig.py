"""Kubeconfig files: which ones, merged as kubectl merges them, and the one context that is asked for.

The library's own merger lets the last file's current-context win, resolves a user's paths against the cluster's file,
and stumbles over empty files. The rules here are client-go's (k8s.io/client-go/tools/clientcmd/loader.go).
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from ktpy.errors import ContextUnknown, KubeconfigMissing
from ktpy.frozen import dataclass
from ktpy.kube.objects import Json
from ktpy.library import lazy_patterns

SERVICE_ACCOUNT_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_SECTIONS = {"clusters": "cluster", "contexts": "context", "users": "user"}
_TYPES: dict[str, type] = {
    **dict.fromkeys(("server", "tls-server-name", "proxy-url", "certificate-authority", "cluster", "user"), str),
    **dict.fromkeys(("certificate-authority-data", "client-certificate", "client-certificate-data", "client-key"), str),
    **dict.fromkeys(
        ("client-key-data", "token", "tokenFile", "username", "password", "as", "as-uid", "namespace"), str
    ),
    **dict.fromkeys(("command", "apiVersion", "interactiveMode", "installHint", "name", "value"), str),
    **dict.fromkeys(("insecure-skip-tls-verify", "provideClusterInfo"), bool),
    **dict.fromkeys(("as-groups", "args", "env", "extensions"), list),
    **dict.fromkeys(("as-user-extra", "exec", "auth-provider", "config"), dict),
}
"""What ktpy reads of an entry, as k8s.io/client-go/tools/clientcmd/api/v1 defines it."""
_HEADER_SAFE = "!#$&'*+-.^_`|~"  # with letters and digits; client-go escapes the rest, and the percent sign
_PATHS = {"cluster": ("certificate-authority",), "user": ("client-certificate", "client-key", "tokenFile")}


@dataclass(frozen=True, slots=True)
class KubeContext:
    """A KubeContext names the cluster, the user and the namespace, for labels and for people."""

    context: str
    cluster: str
    user: str
    namespace: str
    server: str


@dataclass(frozen=True, slots=True)
class Selection:
    """A Selection is one context with all it names. `cluster` and `user` are the kubeconfig's own entries."""

    target: KubeContext
    cluster: Json
    user: Json


def paths(kubeconfig: str | Sequence[str] | None = None) -> list[Path]:
    """Return the files to read: those given, else KUBECONFIG's list, else ~/.kube/config; only existing ones.

    A file given as an option must exist; of a list in KUBECONFIG any may be absent, as with kubectl.
    """
    if kubeconfig is not None:
        given = [kubeconfig] if isinstance(kubeconfig, str) else kubeconfig
        files = [_expanded(part) for entry in given for part in entry.split(":") if part]
        for file in files:
            if not _exists(file):
                raise KubeconfigMissing(f"There is no kubeconfig {file}.")
        return files
    listed = [part for part in os.environ.get("KUBECONFIG", "").split(":") if part]
    candidates = listed or ["~/.kube/config"]
    return [file for file in map(_expanded, candidates) if _exists(file)]


def _expanded(path: str) -> Path:
    """Return the path with a home in the place of `~`; that of a user who is not known stays as it is written."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - pathlib's raises


def _exists(file: Path) -> bool:
    """Tell whether there is a file, or only reading it can tell, as in a folder that is closed to the user."""
    try:
        return file.exists()
    except PermissionError:
        return True


def absence() -> str:
    """Say that there is no kubeconfig, and which file KUBECONFIG names in vain."""
    named = os.environ.get("KUBECONFIG", "")
    return f"There is no kubeconfig {named}, which KUBECONFIG names." if named.strip(":") else "There is no kubeconfig."


def is_in_cluster() -> bool:
    """Tell whether this process runs in a pod that may speak to the API server."""
    return "KUBERNETES_SERVICE_HOST" in os.environ and (SERVICE_ACCOUNT_DIR / "token").is_file()


def read(files: Iterable[Path]) -> Json:
    """Merge the files: the first that sets a value wins. Relative paths are made absolute against their own file."""
    merged: Json = {"current-context": "", **{section: {} for section in _SECTIONS}}
    for file in files:
        document = _parse(file)
        merged["current-context"] = merged["current-context"] or str(document.get("current-context") or "")
        for section, kind in _SECTIONS.items():
            for name, content in _entries(file, document, section, kind):
                _make_paths_absolute(kind, content, file.absolute().parent)
                merged[section].setdefault(name, content)
    return merged


def select(merged: Json, context: str | None = None, namespace: str | None = None) -> Selection:
    """Return the context asked for, or the current one."""
    contexts, name = merged["contexts"], context or merged["current-context"]
    known = f"The kubeconfig has: {', '.join(sorted(contexts)) or 'none'}."
    if not name:
        raise ContextUnknown("The kubeconfig has no current context.", hint=f"Choose one with --context. {known}")
    if name not in contexts:
        raise ContextUnknown(f"The kubeconfig has no context {name}.", hint=known)
    cluster_name, user_name = contexts[name].get("cluster", ""), contexts[name].get("user", "")
    cluster = merged["clusters"].get(cluster_name, {})
    if not cluster.get("server"):
        raise KubeconfigMissing(f"Context {name} names cluster {cluster_name or '-'}, which has no server address.")
    if user_name and user_name not in merged["users"]:
        raise KubeconfigMissing(f"Context {name} names user {user_name}, which the kubeconfig does not have.")
    server = cluster["server"].rstrip("/")
    if "://" not in server:
        server = f"https://{server}"
    for key, url in (("server", server), ("proxy-url", cluster.get("proxy-url"))):
        if url and not _is_url(url):
            raise KubeconfigMissing(f"The kubeconfig's {key} of cluster {cluster_name} is no URL.")
    chosen_namespace = namespace or contexts[name].get("namespace") or "default"
    target = KubeContext(name, cluster_name, user_name, chosen_namespace, server)
    return Selection(target, cluster | {"server": server}, merged["users"].get(user_name, {}))


def in_cluster(namespace: str | None = None) -> Selection:
    """Return the service account of the pod this process runs in, as if a kubeconfig named it."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    namespace_file = SERVICE_ACCOUNT_DIR / "namespace"
    own_namespace = namespace_file.read_text().strip() if namespace_file.is_file() else "default"
    target = KubeContext("in-cluster", "in-cluster", "service account", namespace or own_namespace, server)
    cluster = {"server": server, "certificate-authority": str(SERVICE_ACCOUNT_DIR / "ca.crt")}
    return Selection(target, cluster, {"tokenFile": str(SERVICE_ACCOUNT_DIR / "token")})


def impersonation(user: Json) -> list[tuple[str, str]]:
    """Return the headers for `as`, `as-uid`, `as-groups` and `as-user-extra`, as client-go sends them."""
    headers = [("Impersonate-User", user.get("as")), ("Impersonate-Uid", user.get("as-uid"))]
    headers += [("Impersonate-Group", group) for group in user.get("as-groups") or []]
    for key, values in (user.get("as-user-extra") or {}).items():
        name = f"Impersonate-Extra-{quote(key, safe=_HEADER_SAFE)}"
        headers += [(name, value) for value in values or []]
    return [(name, value) for name, value in headers if value]


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _parse(file: Path) -> Json:
    with lazy_patterns():  # those of the loaders that are not used
        import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where it is built in: ten times as fast
    try:
        document = yaml.load(file.read_text(), Loader=loader)  # noqa: S506 - both are safe loaders
    except OSError as exc:
        raise KubeconfigMissing(f"The kubeconfig {file} cannot be read: {exc.strerror}.") from exc
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise KubeconfigMissing(f"The kubeconfig {file} is malformed: {' '.join(str(exc).split())}.") from exc
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise KubeconfigMissing(f"The kubeconfig {file} is malformed: it is no mapping.")
    return document


def _entries(file: Path, document: Json, section: str, kind: str) -> Iterable[tuple[str, Json]]:
    entries = document.get(section) or []
    for entry in entries if isinstance(entries, list) else [None]:
        if not isinstance(entry, dict) or "name" not in entry or not isinstance(entry.get(kind) or {}, dict):
            raise KubeconfigMissing(f"The kubeconfig {file} is malformed: {section} is no list of named entries.")
        content = dict(entry.get(kind) or {})
        _check(f"The kubeconfig {file} is malformed: in {kind} {entry['name']}", content)
        yield str(entry["name"]), content


def _check(where: str, content: Json) -> None:
    """Check the types of what ktpy reads, so that nothing behind has to. Raises KubeconfigMissing."""
    for key, value in content.items():
        if value is not None and not isinstance(value, _TYPES.get(key, object)):
            raise KubeconfigMissing(f"{where}, {key} is of another type than {_TYPES[key].__name__}.")
    extra = content.get("as-user-extra") or {}
    texts = [
        content.get("as-groups") or [],
        content.get("args") or [],
        list(extra),
        *(extra[key] or [] for key in extra),
    ]
    if not all(isinstance(values, list) and all(isinstance(text, str) for text in values) for values in texts):
        raise KubeconfigMissing(f"{where}, as-groups, as-user-extra and args have to be lists of strings.")
    nested = [content.get("exec"), content.get("auth-provider")]
    nested += [*(content.get("env") or []), *(content.get("extensions") or [])]
    for item in nested:
        if item is not None:
            _check_mapping(where, item)


def _check_mapping(where: str, item: Any) -> None:
    if not isinstance(item, dict):
        raise KubeconfigMissing(f"{where}, an entry of a list is no mapping.")
    _check(where, item)


def _make_paths_absolute(kind: str, content: Json, base: Path) -> None:
    for key in _PATHS.get(kind, ()):
        if content.get(key):
            content[key] = str(base / content[key])
    plugin = content.get("exec") if kind == "user" else None
    if plugin and "/" in str(plugin.get("command", "")):
        content["exec"] = plugin | {"command": str(base / plugin["command"])}


def selected(kubeconfig_paths: str | Sequence[str] | None, context: str | None, namespace: str | None) -> Selection:
    """Read the kubeconfig as kubectl does, or take the pod's own service account where there is none.

    Raises KubeconfigMissing and ContextUnknown.
    """
    files = paths(kubeconfig_paths)
    merged = read(files)
    if context is None and not merged["clusters"] and is_in_cluster():
        return in_cluster(namespace)
    if not files:
        raise KubeconfigMissing(absence(), hint="Name one with --kubeconfig or KUBECONFIG, or create ~/.kube/config.")
    return select(merged, context, namespace)
