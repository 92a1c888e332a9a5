"""Credential plugins: the `exec` section of a kubeconfig user.

The library swallows a plugin's failure, asks no plugin twice, and passes no cluster. The contract is KEP-541,
client.authentication.k8s.io/v1 and v1beta1.
"""

import asyncio
import base64
import json
import os
import sys
from datetime import datetime
from pathlib import Path

from ktpy.errors import Unauthorized
from ktpy.frozen import dataclass
from ktpy.kube.objects import Json, parse_object

_ERROR_LINES = 10
_CLUSTER_INFO = (
    "server",
    "tls-server-name",
    "insecure-skip-tls-verify",
    "certificate-authority-data",
    "proxy-url",
)


@dataclass(frozen=True, slots=True)
class ExecCredential:
    """An ExecCredential is a plugin's answer. `expires_at` is in seconds of the Unix epoch; None means until a 401."""

    token: str | None
    certificate: str | None
    key: str | None
    expires_at: float | None


async def run(plugin: Json, cluster: Json) -> ExecCredential:
    """Run the plugin once. It may talk to the user on the terminal, so there is no time limit but the caller's.

    Raises Unauthorized with the plugin's own words when it fails.
    """
    command = str(plugin.get("command", ""))
    is_interactive = _is_interactive(plugin, command)
    environment = os.environ | {entry["name"]: entry["value"] for entry in plugin.get("env") or []}
    environment["KUBERNETES_EXEC_INFO"] = json.dumps(_exec_info(plugin, cluster, is_interactive))
    try:
        process = await asyncio.create_subprocess_exec(
            command,
            *[str(argument) for argument in plugin.get("args") or []],
            env=environment,
            stdin=None if is_interactive else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except (OSError, ValueError) as exc:  # ValueError: a null byte in the command line
        why = exc.strerror if isinstance(exc, OSError) else exc
        raise Unauthorized(
            f"The credential plugin {command} cannot be run: {why}.", hint=plugin.get("installHint")
        ) from exc
    try:
        output, errors = await asyncio.gather(_read(process.stdout), _read(process.stderr, is_shown=is_interactive))
        exit_code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if exit_code != 0:
        words = "\n".join(errors.decode(errors="replace").strip().splitlines()[-_ERROR_LINES:])
        raise Unauthorized(f"The credential plugin {command} failed with exit code {exit_code}.", hint=words or None)
    return _parse(output, plugin, command)


def _is_interactive(plugin: Json, command: str) -> bool:
    mode = plugin.get("interactiveMode", "IfAvailable")
    has_terminal = sys.stdin is not None and sys.stdin.isatty()
    if mode == "Always" and not has_terminal:
        raise Unauthorized(f"The credential plugin {command} wants to talk to you, but there is no terminal.")
    return mode != "Never" and has_terminal


def _exec_info(plugin: Json, cluster: Json, is_interactive: bool) -> Json:
    spec: Json = {"interactive": is_interactive}
    if plugin.get("provideClusterInfo"):
        spec["cluster"] = {key: cluster[key] for key in _CLUSTER_INFO if key in cluster}
        if "certificate-authority" in cluster and "certificate-authority-data" not in cluster:
            authority = Path(cluster["certificate-authority"]).read_bytes()
            spec["cluster"]["certificate-authority-data"] = base64.b64encode(authority).decode()
        for extension in cluster.get("extensions") or []:
            if extension.get("name") == "client.authentication.k8s.io/exec":
                spec["cluster"]["config"] = extension.get("extension")
    return {"apiVersion": plugin.get("apiVersion"), "kind": "ExecCredential", "spec": spec}


async def _read(stream: asyncio.StreamReader | None, *, is_shown: bool = False) -> bytes:
    assert stream is not None  # noqa: S101 - a pipe was asked for
    received = bytearray()
    while chunk := await stream.read(4096):
        received += chunk
        if is_shown:  # "open this page and enter the code ..."
            sys.stderr.write(chunk.decode(errors="replace"))
            sys.stderr.flush()
    return bytes(received)


def _parse(output: bytes, plugin: Json, command: str) -> ExecCredential:
    try:
        answer = parse_object(output)
        status = answer["status"]
        expiry = status.get("expirationTimestamp")
        credential = ExecCredential(
            token=status.get("token"),
            certificate=status.get("clientCertificateData"),
            key=status.get("clientKeyData"),
            expires_at=datetime.fromisoformat(expiry).timestamp() if expiry else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as exc:
        raise Unauthorized(f"The credential plugin {command} answered no ExecCredential: {exc!r}.") from exc
    if answer.get("apiVersion") != plugin.get("apiVersion"):
        raise Unauthorized(
            f"The credential plugin {command} answers in {answer.get('apiVersion')}, "
            f"the kubeconfig asks for {plugin.get('apiVersion')}."
        )
    if not credential.token and not (credential.certificate and credential.key):
        raise Unauthorized(f"The credential plugin {command} gave neither a token nor a certificate with its key.")
    return credential
