"""`ktpy clean` undoes what killed runs left, on this laptop and in the cluster."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ktpy.cli import render
from ktpy.cli.options import cluster, output, verbose
from ktpy.daemon.caller import Caller
from ktpy.errors import KtpyError, KubeconfigMissing
from ktpy.observe.events import Event, Notice

T = TypeVar("T")


@click.command()
@click.option("--dry-run", is_flag=True, envvar="KTPY_DRY_RUN", help="Only say what would go.")
@click.option("--all-namespaces", "-A", is_flag=True, help="Look in every namespace of the cluster.")
@cluster(namespace="Namespace to clean in the cluster.")
@output
@verbose
def clean(dry_run: bool, all_namespaces: bool, output: str, **place: Any) -> None:
    """Undo what killed runs left: resolver, routes and links of this laptop, and intercepts in the cluster.

    Of this laptop's intercepts, those whose process is gone; of others', those that have not been heard from for a
    minute. Nothing that is alive is touched. Only the laptop's part needs root, and only when there is something.

    \b
    ktpy clean --dry-run
    """
    caller = Caller.current()
    cleaning = _Cleaning(dry_run=dry_run, is_json=output == "json")
    failure: Exception | None = None
    is_anything_there = True
    try:
        try:
            is_anything_there = cleaning.laptop()
        except KtpyError as error:  # the rest is cleaned nevertheless
            failure = error
        caller.drop_privileges()
        is_anything_there |= cleaning.own(caller)
        is_anything_there |= cleaning.cluster(place, all_namespaces=all_namespaces)
    finally:
        if cleaning.is_json:
            render.say_json({"dry_run": dry_run, "found": cleaning.found, "kept": cleaning.kept})
    if not (is_anything_there or cleaning.kept or cleaning.is_json):
        render.say("Nothing to clean.")
    if (failure := failure or cleaning.unsaid) is not None:
        raise failure


class _Cleaning:
    """A _Cleaning says what it finds, at once in words, or as data at the end. Each part tells whether it found any."""

    def __init__(self, *, dry_run: bool, is_json: bool) -> None:
        self.found: list[dict[str, str]] = []
        self.kept: list[dict[str, str]] = []
        """The gateways that stay."""
        self.unsaid: OSError | None = None
        """Why something could not be shown (the disk is full, the reader has left), which keeps nothing from going."""
        self.is_json = is_json
        self._dry_run = dry_run

    def _tell(self, where: str, text: str, **data: str) -> None:
        self.found.append({"where": where, "text": text, **data})
        if not self.is_json:
            self._show(render.say, text)

    def _show(self, draw: Callable[[T], None], what: T) -> None:
        try:
            draw(what)
        except OSError as error:
            self.unsaid = error

    def laptop(self) -> bool:
        from ktpy.daemon import privileged  # not every system has what it needs

        if not self._dry_run:
            return privileged.undo_stale_journals(lambda text: self._tell("laptop", text))
        stale = privileged.stale_journals()
        for one in stale:
            for summary in one.pending:
                self._tell("laptop", f"would undo on this laptop: {summary}")
            for sentence in one.unreadable:
                self._tell("laptop", sentence)
        return bool(stale)

    def own(self, caller: Caller) -> bool:
        """Undo what this user's killed intercepts left."""
        from ktpy.daemon.records import Records
        from ktpy.sessions import once
        from ktpy.sessions.undo_killed import describe, describe_unreadable

        records = Records.of(caller)
        unreadable = [] if self._dry_run else records.put_aside()
        for path in unreadable:
            self._tell("intercepts", describe_unreadable(path))
        with records.stale() as stale:
            own = list(stale)
        if self._dry_run:
            for record in own:
                self._tell("intercepts", f"would be undone. {describe(record)}.")
        else:
            for server in {record.server: record for record in own}.values():
                once.undo_record(server, records, self._take_event)
        return bool(own or unreadable)

    def _take_event(self, event: Event) -> None:
        if not self.is_json:
            self._show(render.event, event)
        elif isinstance(event, Notice):
            self._tell("intercepts", event.text)

    def cluster(self, place: dict[str, Any], *, all_namespaces: bool) -> bool:
        from ktpy.sessions import once

        try:
            found, failures, kept = once.sweep_dead(
                once.ClusterRef(**place), all_namespaces=all_namespaces, dry_run=self._dry_run
            )
        except KubeconfigMissing as error:
            render.say(f"No cluster was looked at: {error.message}", err=True)
            return False
        for one in found:
            data = {"kind": one.kind, "namespace": one.namespace, "name": one.name, "reason": one.reason}
            done = "would remove" if self._dry_run else "removed"
            self._tell("cluster", f"{done} {one.kind} {one.namespace}/{one.name}: {one.reason}", **data)
        for lease in kept:
            data = {"namespace": lease.namespace, "name": lease.target, "owner": lease.owner, "since": lease.since}
            self.kept.append(data)
            if not self.is_json:
                end = f"ktpy gateway release {lease.target} -n {lease.namespace}"
                self._show(
                    render.say,
                    f"left alone: the gateway of {lease.namespace}/{lease.target}, which {lease.owner} keeps since "
                    f"{lease.since}; `{end}` gives the service back",
                )
        if failures:
            raise failures[0]
        return bool(found)
