"""This module defines the changes the helper makes to a machine, each with its undoing.

A change is a frozen dataclass, so that the journal can hold it and a later process undo it. Undoing is
idempotent, may find the change never made (the helper was killed in between), and touches only what is
recognisably ours. A change that vanished by itself counts as undone.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ktpy.helper import resolved, routes, snapshot
from ktpy.helper.journal import Journal, pending_of
from ktpy.helper.journal_text import Entry
from ktpy.helper.snapshot import Snapshot
from ktpy.helper.wire import from_json, to_json


class Change(Protocol):
    def summary(self) -> str:
        """Return the change in a few words, for people."""

    def undo(self) -> str | None:
        """Take the change back; return a sentence where it was left alone, because it is not ours any more."""


@dataclass(frozen=True, slots=True)
class TunDevice:
    """A TunDevice takes its addresses and routes with it when it goes: all at once, however many routes there are."""

    name: str
    alias: str

    def summary(self) -> str:
        return f"TUN device {self.name}"

    def undo(self) -> str | None:
        """Delete the device: closing our descriptor is not enough, because the main process may still hold one."""
        routes.delete_link(self.name, self.alias)
        return None


@dataclass(frozen=True, slots=True)
class ResolvedLink:
    """A ResolvedLink is our link with name servers and domains in systemd-resolved."""

    link: str
    alias: str

    def summary(self) -> str:
        return f"name servers of {self.link} in systemd-resolved"

    def undo(self) -> str | None:
        if routes.is_ours(self.link, self.alias):
            resolved.revert(self.link)
        return None


@dataclass(frozen=True, slots=True)
class Layer:
    """A Layer is a state of /etc/resolv.conf, and the journal whose helper wrote it; None: it is the user's own."""

    journal_id: str | None
    state: Snapshot


@dataclass(frozen=True, slots=True)
class ResolvConf:
    """A ResolvConf is a file written in place of /etc/resolv.conf.

    `beneath` holds the states to go back to. There are several when another ktpy's file was there: that one may end
    before us, and its file must not come back when we end. The last is the user's own.
    """

    path: str
    written: Snapshot
    beneath: tuple[Layer, ...]

    def summary(self) -> str:
        return self.path

    def undo(self) -> str | None:
        path, [before, *_] = Path(self.path), self.beneath
        if snapshot.holds(path, self.written) or snapshot.is_torn(path, before.state, self.written):
            snapshot.put_back(path, next(layer.state for layer in self.beneath if _still_stands(layer)))
            return None
        if snapshot.holds(path, before.state):  # never written, or put back already
            return None
        return f"{self.path} is not what ktpy wrote any more: left as it is"


RESOLV_CONF = "ResolvConf"
ROUTES = "Routes"
"""Of earlier versions, which put routes into the journal too. They go with the TUN device of the same journal."""
_KINDS: dict[str, type[Change]] = {change.__name__: change for change in (TunDevice, ResolvedLink, ResolvConf)}


def undo(entry: Entry) -> str | None:
    """Undo one entry of a journal. Raises KeyError, MessageError, OSError, NetlinkError, ResolverNotWritable."""
    return None if entry.kind == ROUTES else _change(entry).undo()


@contextlib.contextmanager
def recorded(journal: Journal, change: Change) -> Iterator[None]:
    """Put the change on disk, then let the caller make it. A failure undoes the half that may be there.

    If that fails too, the change stays in the journal, and is tried again when everything is undone.
    """
    entry = journal.record(type(change).__name__, change.summary(), to_json(change))
    try:
        yield
    except BaseException as exc:
        try:
            change.undo()
            journal.mark_undone(entry)
        except Exception as undo_exc:
            exc.add_note(f"Undoing {change.summary()} failed as well: {undo_exc}")
        raise


def layers_of(path: Path, now: Snapshot, others: list[str]) -> tuple[Layer, ...]:
    """Return the states beneath a file that is about to be written; `others` are ids of other helpers' journals."""
    for journal_id in others:
        for entry in pending_of(journal_id):
            if entry.kind == RESOLV_CONF:
                change = from_json(ResolvConf, entry.body)
                if change.path == str(path) and snapshot.holds(path, change.written):
                    return (Layer(journal_id, now), *change.beneath)
    return (Layer(None, now),)


def _still_stands(layer: Layer) -> bool:
    return layer.journal_id is None or any(entry.kind == RESOLV_CONF for entry in pending_of(layer.journal_id))


def _change(entry: Entry) -> Change:
    return from_json(_KINDS[entry.kind], entry.body)
