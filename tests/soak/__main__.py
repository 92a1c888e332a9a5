"""`python tests/soak ...`: runs from any directory, which stays the current one."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    from tests.soak.cli import main

    sys.exit(main(sys.argv[1:]))
