"""A file that is there at once: `python -m tests.bench.load.large_file FOLDER MIB` prints when, on the monotonic clock.

It is made beside the folder, with bytes that no two blocks share, and moved in.
"""

import json
import os
import sys
import time
from pathlib import Path

NAME = "large"


def main(folder: str, mebibytes: str) -> None:
    beside = Path(folder).with_suffix(".beside")
    with beside.open("wb") as file:
        for _ in range(int(mebibytes)):
            file.write(os.urandom(1 << 20))
    os.sync()  # nor is it still on its way to the disk while it is read
    beside.rename(Path(folder) / NAME)
    print(json.dumps(time.monotonic()))


if __name__ == "__main__":
    main(*sys.argv[1:])
