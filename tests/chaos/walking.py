"""Runs ktpy's command line and writes each of its steps into a file, a line each: where it can be held.

python -m tests.chaos.walking FILE exchange target --expose 3001:80
"""

import json
import sys

from tests.e2e.kit.signal_at_step import become_ktpy, instrument

if __name__ == "__main__":
    path, *arguments = sys.argv[1:]
    with open(path, "a", buffering=1) as file:  # noqa: PTH123 - kept open until the process ends
        instrument(lambda *where: print(json.dumps(where), file=file))
        become_ktpy(arguments)
