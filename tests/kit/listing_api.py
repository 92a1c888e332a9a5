"""An API server on the loopback that lists objects, for programs that have processes of their own."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@contextmanager
def listing(objects: Mapping[str, Sequence[Any]], kubeconfig: Path, *more_contexts: str) -> Iterator[None]:
    """List the objects by their paths, and write a kubeconfig whose context `lab` leads there, to namespace `shop`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found = objects.get(self.path.partition("?")[0])
            body = json.dumps({"metadata": {"resourceVersion": "1"}, "items": found or []}).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        contexts = [{"name": "lab", "context": {"cluster": "lab", "namespace": "shop"}}]
        document = {
            "contexts": [*contexts, *({"name": name} for name in more_contexts)],
            "clusters": [{"name": "lab", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
            "current-context": "lab",
        }
        kubeconfig.write_text(json.dumps(document))
        try:
            yield
        finally:
            server.shutdown()
