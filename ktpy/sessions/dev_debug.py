"""`ktpy dev debug`: a program in a dev container under its debugger, whose port is one of the laptop's meanwhile."""

from dataclasses import replace

from ktpy.daemon.caller import Caller
from ktpy.errors import UsageError
from ktpy.observe.events import Report
from ktpy.sessions import dev_visit
from ktpy.sessions.debuggers import entries, language_of
from ktpy.sessions.dev_config_in_cluster import texts
from ktpy.sessions.dev_configured import found_for, reloaded
from ktpy.sessions.dev_ports import listening
from ktpy.sessions.once import ClusterRef
from ktpy.sessions.options import DevOptions, Exec, Publish


def run(place: ClusterRef, options: DevOptions, port: Publish | None, caller: Caller, report: Report) -> int:
    """Run the user's command, or the configuration's, tell what editors need to attach, and return its exit code.

    Raises UsageError where neither says what to run, or where its debugger listens, and LocalPortTaken.
    """
    there = replace(options, kubeconfig=place.kubeconfig, context=place.context, namespace=place.namespace)
    found = found_for(there, report) if options.command else found_for(there, report, texts)
    folder = options.work_dir or found.work_dir
    asked = reloaded(found.debug, found.debug_reloaded, folder, asked=options.reloads, said=found.is_reloaded)
    if options.command:
        asked = Exec(options.command, folder=folder, reloads=options.reloads)
    if not asked.words:
        raise UsageError("Say what to debug, after two hyphens: ktpy dev debug WORKLOAD --port 5678 -- COMMAND")
    if port is None and not found.debug_port:
        raise UsageError("Say on which port of the container the debugger listens: --port 5678")
    with listening([port or Publish(found.debug_port, found.debug_port)], "--port") as listeners:
        local = listeners[0][1].getsockname()[1]
        notes = list(entries(options.target, language_of(found.language, asked.words), local, folder))
        return dev_visit.run(place, options.target, asked, caller, report, listeners, notes)
