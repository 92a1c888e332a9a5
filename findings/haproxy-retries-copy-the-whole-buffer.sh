#!/usr/bin/env bash
# HAProxy 2.6.12 (Debian 12): `retry-on empty-response` costs a copy of a whole buffer for each request, not of the
# request. With the 16 KB that tune.bufsize has by default it is not to be seen; with 128 KB, which a proxy needs in front of
# servers that take long header fields, each small GET costs two to three times the processor time. `retry-on conn-failure`, the
# default, copies nothing. Nothing fails: it is seen only where somebody counts processor seconds.
# ktpy's gateway keeps such retries for requests that go to a laptop, and has none before the original pods.
# Output seen (2 cores): "conn-failure 53 us, empty-response 182 us for each request: 3.41 x"; with 16 KB 0.98 x.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
# haproxy, and what it is linked with that is not on every Debian 12.
apt-get -o APT::Sandbox::User=root download -q=2 haproxy=2.6.12-1+deb12u4 \
  liblua5.3-0=5.3.6-2 libopentracing-c-wrapper0=1.1.3-3+b1 libopentracing1=1.6.0-4
for package in *.deb; do dpkg-deb -x "$package" .; done
LD_LIBRARY_PATH="$(echo "$folder"/usr/lib/*-linux-gnu)"
export LD_LIBRARY_PATH
python3 - <<'PYTHON'
import http.client
import os
import socket
import subprocess
import time

REQUESTS = 20_000
COMMON = """
global
  nbthread 1
  tune.bufsize 131072
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
"""
SERVER = COMMON + "frontend server\n  bind unix@server.sock\n  http-request return status 200 content-type text/plain string ok\n"
PROXY = """
frontend {name}
  bind 127.0.0.1:{port}
  default_backend {name}
backend {name}
  retry-on {name}
  server one unix@server.sock
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return bound.getsockname()[1]


def processor_s(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start(text, name):
    with open(name, "w") as configuration:
        configuration.write(text)
    return subprocess.Popen(["usr/sbin/haproxy", "-db", "-q", "-f", name])


def ask(port, count):
    client = http.client.HTTPConnection("127.0.0.1", port)
    for _ in range(count):
        client.request("GET", "/")
        assert client.getresponse().read() == b"ok"
    client.close()


server = start(SERVER, "server.cfg")
took_us = {}
try:
    for name in ("conn-failure", "empty-response"):
        port = free_port()
        proxy = start(COMMON + PROXY.format(name=name, port=port), f"{name}.cfg")
        try:
            ended_s = time.monotonic() + 10
            while time.monotonic() < ended_s:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.05)
            ask(port, 500)
            before_s = processor_s(proxy.pid)
            ask(port, REQUESTS)
            took_us[name] = (processor_s(proxy.pid) - before_s) * 1e6 / REQUESTS
        finally:
            proxy.terminate()
            proxy.wait()
finally:
    server.terminate()
    server.wait()
plain, copied = took_us["conn-failure"], took_us["empty-response"]
print(f"conn-failure {plain:.0f} us, empty-response {copied:.0f} us for each request: {copied / plain:.2f} x")
assert copied > 1.3 * plain, "the behaviour has changed"
PYTHON
