"""The `ktpy` command."""

import _signal as signal  # type: ignore[import-not-found]  # `signal` takes time to import: Ctrl-C would be a traceback
import errno
import gc
import os
import sys

TYPE_CHECKING = False  # as of `typing`, which takes time to import
if TYPE_CHECKING:
    from ktpy.completion.answer import Commands


def main() -> None:
    """Console entry point."""
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports ends ktpy without a word
    gc.disable()  # imports leave next to no garbage; a session looks for it once it stands (supervision)
    if "SUDO_UID" in os.environ:
        _come_from_sudo()
    if "_KTPY_COMPLETE" in os.environ:
        from ktpy.completion.answer import answer

        answer(_commands)
        return
    from ktpy.cli.main import cli  # after the environment is the caller's: option defaults come from it

    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.exit(cli(prog_name="kubectl ktpy" if sys.argv[0].endswith("/kubectl-ktpy") else None))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left in the buffer is not tried again at the exit
        sys.stderr.write(f"error: The output cannot be written ({error.strerror}).\n")
        sys.exit(1)


def _commands() -> "Commands":
    from ktpy.cli import grammar

    return grammar


def _come_from_sudo() -> None:
    from ktpy.daemon.caller import come_from_sudo
    from ktpy.errors import KtpyError

    try:
        come_from_sudo()
    except KtpyError as error:
        sys.stderr.write(f"error: {error.message}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
