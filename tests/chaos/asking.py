"""The program in `ktpy run`: a steady client, which prints each of its requests as a line. Standard library only.

python tests/chaos/asking.py HOST
"""

import http.client
import json
import select
import sys
import time

INTERVAL_S = 0.05
TIMEOUT_S = 10.0


def ask(host: str) -> str:
    """Return the first word of the answer, or what went wrong."""
    connection = http.client.HTTPConnection(host, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode().split()[0]
    except (OSError, http.client.HTTPException) as error:
        return repr(error)
    finally:
        connection.close()


def main(host: str) -> None:
    while True:
        began_s = time.monotonic()
        answer = ask(host)
        print(json.dumps([began_s, time.monotonic() - began_s, answer]), flush=True)
        select.select([], [], [], INTERVAL_S)  # time.sleep fails where libfaketime leaves the monotonic clock alone


if __name__ == "__main__":
    main(sys.argv[1])
