"""A service that asks the next one, and passes on what a tracing library does. Runs in pods: standard library only.

relay.py NAME [HOST]       on port 8080; answers `NAME`, or `NAME HOST's answer`

W3C Baggage and Trace Context (https://www.w3.org/TR/baggage/, https://www.w3.org/TR/trace-context/) are handed on as
they came; every other header, such as VERSION, stays behind: no library knows about it.
"""

import http.client
import http.server
import sys

PORT = 8080
TIMEOUT_S = 5.0
PASSED_ON = ("baggage", "traceparent", "tracestate")


class Relay(http.server.BaseHTTPRequestHandler):
    name = ""
    next_host: str | None = None

    def do_GET(self) -> None:
        answer = self.name
        if self.next_host is not None:
            answer += " " + self.ask(self.next_host)
        body = answer.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def ask(self, host: str) -> str:
        connection = http.client.HTTPConnection(host, timeout=TIMEOUT_S)
        connection.putrequest("GET", self.path)
        for header in PASSED_ON:
            for value in self.headers.get_all(header, []):
                connection.putheader(header, value)
        connection.endheaders()
        try:
            return connection.getresponse().read().decode()
        finally:
            connection.close()


if __name__ == "__main__":
    Relay.name, *following = sys.argv[1:]
    Relay.next_host = following[0] if following else None
    http.server.ThreadingHTTPServer(("", PORT), Relay).serve_forever()
