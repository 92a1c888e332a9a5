"""The `ktpy` command."""

import signal
import sys


def main() -> None:
    """Console entry point."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports ends ktpy without a word
    from ktpy.daemon.caller import come_from_sudo
    from ktpy.errors import KtpyError

    try:
        come_from_sudo()
    except KtpyError as error:
        sys.stderr.write(f"error: {error.message}\n")
        sys.exit(error.exit_code)
    from ktpy.cli.main import cli  # after the environment is the caller's: option defaults come from it

    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(cli())


if __name__ == "__main__":
    main()
