"""The HTTP request that becomes a port-forward, and what the answers to it mean. Pure, no I/O."""

import base64
import http.client
import os
from collections.abc import Sequence
from typing import ClassVar, Final, cast

from ktpy import __version__
from ktpy.errors import ApiRefused, ApiUnreachable, KtpyError, PodNotReady
from ktpy.kube.endpoint import ApiEndpoint, head_length, parse_response, reason
from ktpy.kube.objects import parse_object
from ktpy.kube.portforward.spdy import SpdyFraming
from ktpy.kube.portforward.websocket import accept_key
from ktpy.kube.refusals import Action, refusal
from ktpy.kube.resources import PODS

_ANSWER_LIMIT_BYTES: Final = 256 << 10
_MESSAGE_LIMIT_BYTES: Final = 16 << 10
_WORDS_LIMIT: Final = 200
_UNKNOWN_POD: Final = "pod does not exist"
"""The kubelet's whole answer (k8s.io/kubernetes/pkg/kubelet/server/server.go) until it has heard of the pod."""


class PortForwardNotYet(PodNotReady):
    """The pod cannot be reached now but may be in a moment: it has no node, no network, or nobody listens in it yet."""


class NotForwarded(ApiRefused):
    """An intermediary (an ingress, a gateway, a TLS proxy) answers in the API server's place."""


class Upgrade:
    """An Upgrade is one attempt to turn an HTTP connection into a WebSocket (RFC 6455, section 4)."""

    method: ClassVar[str] = "GET"
    is_websocket: ClassVar[bool] = True

    def __init__(self, endpoint: ApiEndpoint, namespace: str, pod: str, port: int, subprotocols: Sequence[str]) -> None:
        """`subprotocols` are those that ktpy speaks, the preferred one first."""
        self._endpoint = endpoint
        self._path = PODS.path(namespace, pod, "portforward")
        self._port = port
        self._subprotocols = subprotocols
        self._key = base64.b64encode(os.urandom(16)).decode()
        self._answer = b""
        self.status: int | None = None
        """The HTTP status of the answer, once its head has come."""

    def request(self) -> bytes:
        headers = {"Host": self._endpoint.host_header}
        if not any(name == "User-Agent" for name, _ in self._endpoint.headers):
            headers["User-Agent"] = f"ktpy/{__version__}"
        headers |= {"Connection": "Upgrade", **self._offer()}
        lines = [f"{self.method} {self._endpoint.path_prefix}{self._path}?ports={self._port} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in (*headers.items(), *self._endpoint.headers)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _offer(self) -> dict[str, str]:
        return {
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": self._key,
            "Sec-WebSocket-Protocol": ", ".join(self._subprotocols),
        }

    def feed(self, data: bytes) -> tuple[str, bytes] | None:
        """Return the subprotocol that the API server chose and the bytes behind its answer, once the upgrade is done.

        Raises what a refusal means: PortForwardNotYet, Unauthorized, Forbidden, NotFound, NotForwarded, ApiRefused,
        ApiUnreachable.
        """
        self._answer += data
        try:
            response = parse_response(self._answer)
            if response is None:
                return None
            self.status = response.status
            if response.status == 101:
                return self._chosen(response), self._answer[cast(int, head_length(self._answer)) :]
            body = self._body(response)
        except (http.client.HTTPException, ValueError, OverflowError) as exc:
            raise ApiUnreachable(
                f"What answers at {self._endpoint.authority} is no API server: {reason(exc)}."
            ) from exc
        if body is None:
            return None
        raise self._refusal(response.status, body)

    def cut_off(self) -> KtpyError | None:
        """Return what an answer means whose end does not come; None where it is no refusal, or has not begun."""
        if self.status in (None, 101):
            return None
        message = f"It answers {self.status}, and the answer has no end"
        if self.status == 429 or self.status >= 500:
            return PortForwardNotYet(f"The pod cannot be reached yet: {message}.")
        return refusal(self.status, {"message": message}, Action.of(self.method, self._path), self._endpoint.user)

    def _chosen(self, response: http.client.HTTPResponse) -> str:
        chosen = response.getheader("Sec-WebSocket-Protocol") or ""
        if response.getheader("Sec-WebSocket-Accept") != accept_key(self._key) or chosen not in self._subprotocols:
            raise NotForwarded(
                f"The API server at {self._endpoint.authority} did not open a WebSocket for a port-forward.",
                hint="Something between ktpy and the API server may not let WebSocket connections through.",
            )
        return chosen

    def _body(self, response: http.client.HTTPResponse) -> bytes | None:
        """Return the body; None while more of it is to come. The API server keeps the connection open behind it."""
        try:
            return response.read()
        except http.client.IncompleteRead as exc:
            return exc.partial if len(self._answer) >= _ANSWER_LIMIT_BYTES else None

    def _refusal(self, status: int, body: bytes) -> KtpyError:
        """Return the error for an answer that is no upgrade.

        The kubelet's answers pass through the API server as they are, in plain text. What it does not know yet
        is 404 or 500 there, while a 404 of the API server itself, a Status object, is final. What else is no Status
        comes from something between ktpy and the API server.
        """
        try:
            answer = parse_object(body)
            from_api_server = answer.get("kind") == "Status"
        except ValueError:
            from_api_server = False
        if not from_api_server:
            answer = {"message": body[:_MESSAGE_LIMIT_BYTES].decode(errors="replace").strip() or f"HTTP {status}"}
        message = str(answer.get("message"))
        unscheduled = status == 400 and "does not have a host assigned" in message
        unknown = status == 404 and not from_api_server and _UNKNOWN_POD in message
        if unscheduled or unknown or status == 429 or status >= 500:
            return PortForwardNotYet(f"The pod cannot be reached yet: {message.rstrip('.')}.")
        if not from_api_server and status in (400, 403, 404, 426):
            return NotForwarded(
                f"Something before the API server at {self._endpoint.host_header} does not let the port-forward "
                f"through: it answers {status} by itself.",
                hint="See what stands there (a proxy, an ingress, a gateway): it has to pass WebSocket connections, or "
                f"SPDY, to {self._endpoint.path_prefix}{self._path} on. "
                f"It says: {' '.join(message.split())[:_WORDS_LIMIT]}",
            )
        return refusal(status, answer, Action.of(self.method, self._path), self._endpoint.user)


class SpdyUpgrade(Upgrade):
    """A SpdyUpgrade asks for SPDY/3.1 on the bare connection, as kubectl did before it spoke WebSocket, and still may.

    Some intermediaries let that through, and WebSocket not.
    """

    method = "POST"
    is_websocket = False
    _PROTOCOL: ClassVar[str] = "portforward.k8s.io"

    def _offer(self) -> dict[str, str]:
        return {"Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": self._PROTOCOL, "Content-Length": "0"}

    def _chosen(self, response: http.client.HTTPResponse) -> str:
        chosen = (response.getheader("Upgrade") or "").upper(), response.getheader("X-Stream-Protocol-Version")
        if chosen != ("SPDY/3.1", self._PROTOCOL):
            raise NotForwarded(f"The API server at {self._endpoint.authority} did not open SPDY for a port-forward.")
        return SpdyFraming.subprotocol
