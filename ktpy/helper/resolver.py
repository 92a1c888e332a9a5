"""This module finds out how the machine resolves names, and makes it ask us."""

import errno
import os
import socket
import time
from pathlib import Path

from ktpy.errors import ResolverNotWritable
from ktpy.helper import journal as journals
from ktpy.helper import resolv_conf, resolved, snapshot
from ktpy.helper.changes import RESOLV_CONF as RESOLV_CONF_CHANGE
from ktpy.helper.changes import ResolvConf, ResolvedLink, layers_of, recorded
from ktpy.helper.journal import Journal
from ktpy.helper.protocol import Resolver, SetResolver
from ktpy.helper.wire import Address

RESOLV_CONF = Path("/etc/resolv.conf")
SYSTEMD_RESOLVED = "systemd-resolved"
PLAIN = "resolv.conf"


def detect() -> Resolver:
    """Return how the machine resolves names. Raises ResolverNotWritable where /etc/resolv.conf cannot even be read."""
    try:
        now = snapshot.take(RESOLV_CONF)
        previous = resolv_conf.parse(now.content)
        in_charge = resolved.in_charge(RESOLV_CONF)
        upstream = resolved.uplink() if in_charge else previous
    except OSError as exc:
        raise _not_writable(exc) from exc
    nameservers = upstream.nameservers if in_charge else previous.nameservers or (resolv_conf.UNSET_NAMESERVER,)
    kind = SYSTEMD_RESOLVED if in_charge else PLAIN
    return Resolver(kind, now.form, nameservers, previous.search, previous.options)


def set_up(journal: Journal, wanted: SetResolver, link: str, alias: str) -> Resolver:
    """Make the machine ask `wanted.nameservers`; return what it asked before. Raises ResolverNotWritable.

    It may be called again, after somebody has replaced /etc/resolv.conf: what is there then is what comes back later.

    A static file that names resolved's stub (cloud images, some containers) gets no search domains from
    resolved, so they are written into it, and its name server stays the only one.
    """
    previous = detect()
    if previous.kind == PLAIN:
        _write(journal, wanted, wanted.nameservers)
        return previous
    with recorded(journal, ResolvedLink(link, alias)):
        resolved.set_link(link, wanted)
        if not resolved.follows_stub(RESOLV_CONF):
            _write(journal, wanted, ())
        elif not resolved.wait_for_search(wanted.search):
            raise ResolverNotWritable(
                f"systemd-resolved took the domains of {link}, but {resolved.STUB_FILE} does not show them;"
                " ktpy took them back.",
                hint=f"See what it says: resolvectl status {link}",
            )
    return previous


def _write(journal: Journal, wanted: SetResolver, nameservers: tuple[Address, ...]) -> None:
    with journals.exclusive():
        try:
            now = snapshot.take(RESOLV_CONF)
            previous, host_name = resolv_conf.parse(now.content), socket.gethostname()
            content = resolv_conf.render(previous, nameservers, wanted.search, wanted.cluster_domain, host_name)
            others = [journal_id for journal_id in journals.journal_ids() if journal_id != journal.journal_id]
            superseded = [entry for entry in journal.pending if entry.kind == RESOLV_CONF_CHANGE]
            written = snapshot.overwritten(now, content, mtime_ns=time.time_ns())
            with recorded(journal, ResolvConf(str(RESOLV_CONF), written, layers_of(RESOLV_CONF, now, others))):
                snapshot.put(RESOLV_CONF, written)
            for entry in superseded:  # of a file that somebody replaced
                journal.mark_undone(entry)
        except OSError as exc:
            raise _not_writable(exc) from exc


def _not_writable(exc: OSError) -> ResolverNotWritable:
    if exc.errno in (errno.EPERM, errno.EACCES) and snapshot.is_immutable(RESOLV_CONF):
        return ResolverNotWritable(
            f"{RESOLV_CONF} is protected against changes (chattr +i); ktpy left it as it is.",
            hint=f"Look at it: lsattr {RESOLV_CONF}\nTake the protection away: sudo chattr -i {RESOLV_CONF}",
        )
    reason = f"cannot be written ({os.strerror(exc.errno) if exc.errno else exc})"
    if exc.errno == errno.EROFS:
        reason = "is on a read-only file system"
    return ResolverNotWritable(
        f"{RESOLV_CONF} {reason}; ktpy left it as it is.",
        hint="Leave the resolver alone and use cluster IPs: ktpy connect --no-dns",
    )
