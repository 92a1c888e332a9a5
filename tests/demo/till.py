#!/usr/bin/env python3
"""The demo shop's till: a program as one writes it for a pod. It knows nothing of ktpy, nor where it runs.

GET / on port 8080 answers with a receipt. For that it needs a ConfigMap's file, a Secret's variable, a book on a claim,
its service account (by Kubernetes' own client library), and services `catalog` and `store`.
"""

import hashlib
import hmac
import os
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

import yaml
from kubernetes import client, config

SETTINGS = Path("/etc/till/settings.yaml")
BOOK = Path("/var/lib/till/book")
GOODS = {"catalog": "http://catalog/", "store": "http://store:8080/"}


def tills(namespace: str) -> int:
    """How many pods of this service there are, as the API server says."""
    return len(client.CoreV1Api().list_namespaced_pod(namespace, label_selector="app=till").items)


def receipt() -> str:
    settings = yaml.safe_load(SETTINGS.read_text())
    sold = [name for name, url in GOODS.items() if f"{name} greets you" in urlopen(url, timeout=5).read().decode()]
    with BOOK.open("a+") as book:
        book.write(f"{' '.join(sold)}\n")
        book.seek(0)
        number = len(book.readlines())
    total = len(sold) * settings["price"]
    seal = hmac.new(os.environ["TILL_KEY"].encode(), str(number).encode(), hashlib.sha256).hexdigest()[:8]
    lines = [f"number {number}", *sold, f"total {total} {settings['currency']}"]
    lines += [f"{tills(os.environ['NAMESPACE'])} till(s)", f"seal {seal}", f"printed by {socket.gethostname()}"]
    return "\n".join(lines) + "\n"


class Till(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = receipt().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    config.load_incluster_config()
    server = ThreadingHTTPServer(("", 8080), Till)
    print("the till is open", flush=True)
    server.serve_forever()
