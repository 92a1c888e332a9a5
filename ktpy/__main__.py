"""The `ktpy` command."""

import sys

from ktpy.daemon.caller import adopt_environment


def main() -> None:
    """Console entry point."""
    adopt_environment()
    from ktpy.cli.main import cli  # after the environment is the caller's: option defaults come from it

    sys.exit(cli())


if __name__ == "__main__":
    main()
