"""The things that need root: the helper of a session, and undoing what killed runs left on this laptop."""

import os
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING

from ktpy.daemon.caller import Caller
from ktpy.errors import HelperFailed, KtpyError
from ktpy.helper import journal
from ktpy.helper.launch import WITHOUT_A_PASSWORD, LaunchedHelper, is_standing_by, launch, launch_private

if TYPE_CHECKING:
    from ktpy.helper.protocol import Undone

Say = Callable[[str], None]


def may_ask_for_password() -> bool:
    """Tell whether `launch_helper` has sudo launch it: this process is not root, and was not started by sudo itself."""
    return os.geteuid() != 0 and not is_standing_by()


def launch_helper(caller: Caller, say: Say) -> LaunchedHelper:
    """Launch the helper, and become the caller. `say` tells why, where sudo is about to ask for a password.

    A command calls this first: a password is asked for before anything is made, and nothing else is printed meanwhile.
    Raises PrivilegeMissing where sudo refuses, and HelperFailed.
    """
    if not may_ask_for_password():
        helper = launch()
        caller.drop_privileges()
        return helper
    if shutil.which("sudo") is not None:
        helper = launch(WITHOUT_A_PASSWORD)
        if helper.is_started():
            return helper
        helper.close()
        say("ktpy needs root to set this laptop's routes and resolver; a small helper does that, started by sudo.")
    helper = launch()
    try:
        is_started = helper.is_started()
    except KeyboardInterrupt:
        helper.is_started()  # it hears of Ctrl-C as well, and leaves the terminal as it was
        raise
    if not is_started:
        raise helper.failure()
    return helper


def launch_private_helper(caller: Caller) -> LaunchedHelper:
    """Launch the helper of `ktpy run`, which needs no root but uses it, and become the caller. Raises HelperFailed."""
    helper = launch_private()
    caller.drop_privileges()
    return helper


def stale_journals() -> list[journal.StaleJournal]:
    """Return what killed runs left on this laptop, the latest first. It changes nothing, and needs no root."""
    return journal.stale()


def undo_stale_journals(say: Say) -> bool:
    """Undo what killed runs left on this laptop, and say so; return False where there was nothing.

    Raises HelperFailed where something could not be undone, and PrivilegeMissing where sudo refuses.
    """
    if not journal.stale():
        return False
    reports = _replay(launch(), say)
    if any(report.failures for report in reports):
        raise HelperFailed(
            "Not everything could be undone.",
            hint="What failed is tried again the next time; what cannot be read is kept for you to look at.",
        )
    return bool(reports)


def undo_stale_journals_unasked(say: Say) -> None:
    """Undo what killed runs left on this laptop as far as that needs no password, and say what was done or is left."""
    stale = journal.stale()
    if not stale:
        return
    try:
        _replay(launch(() if os.geteuid() == 0 else WITHOUT_A_PASSWORD), say)
    except KtpyError:
        changes = ", ".join(summary for left in stale for summary in left.left)
        say(f"An earlier ktpy was killed and left: {changes}. `sudo ktpy clean` undoes it.")


def _replay(helper: LaunchedHelper, say: Say) -> "tuple[Undone, ...]":
    from ktpy.helper import replay  # brings asyncio, which no command need wait for that finds nothing

    reports = replay.recover(helper)
    for report in reports:
        say(replay.describe(report, "An earlier ktpy was killed"))
    return reports
