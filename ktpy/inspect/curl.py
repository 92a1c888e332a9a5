"""A request as the command of curl that sends it again, to the local port."""

import base64
import shlex

from ktpy.inspect.record import HttpMessage, WatchedRequest, masked
from ktpy.inspect.text import as_text

OF_ONE_CONNECTION = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "te", "transfer-encoding", "upgrade"}
)
"""Headers that whoever sends a request makes anew; the host's is sent as it was."""


def curl(told: WatchedRequest, *, secrets: bool) -> str:
    """Return a line for a POSIX shell. Secrets are masked unless asked for; what is not known of a body is said."""
    words = ["curl", "-i"]
    if told.method == "HEAD":
        words.append("--head")
    elif told.method != ("POST" if told.request.size else "GET"):
        words += ["-X", told.method]
    if told.protocol in ("h2", "grpc"):
        words.append("--http2-prior-knowledge")
    for name, value in sent_again(told.request, secrets=secrets):
        words += ["-H", f"{name}: {value}"]
    words.append(f"http://localhost:{told.local_port}{told.path}")
    if not told.request.size:
        return shlex.join(words)
    if not told.request.is_whole:
        return f"{shlex.join(words)}  # its body of {told.request.size} bytes was not kept whole"
    text = as_text(told.request.body)
    if text is not None and text.isprintable() and text.encode() == told.request.body:
        return shlex.join([*words, "--data-raw", text])
    packed = base64.b64encode(told.request.body).decode()
    return f"echo {packed} | base64 -d | {shlex.join([*words, '--data-binary', '@-'])}"


def sent_again(request: HttpMessage, *, secrets: bool) -> list[tuple[str, str]]:
    """Return the headers that a second request has as the first had them."""
    headers = request.headers if secrets else masked(request.headers)
    own = OF_ONE_CONNECTION - {"host"}
    return [(name, value) for name, value in headers if name.lower() not in own and not name.startswith(":")]
