"""For all tests: what a test starts hears Ctrl-C, also when the tests themselves were started in the background.

A shell without job control has those ignore SIGINT (POSIX, Shell Command Language, 2.11), and children inherit that.
"""

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
