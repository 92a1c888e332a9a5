"""`ktpy doctor --pod`: how long a real pod of ktpy's takes to start, and how fast the way through it is."""

import time

from ktpy.doctor.finding import Finding, State
from ktpy.kube.client import Api
from ktpy.observe.events import Event, StartStep
from ktpy.sessions.brief_shadow import brief_shadow
from ktpy.sessions.options import ConnectOptions
from ktpy.wire.session import ECHO


async def try_pod(api: Api, options: ConnectOptions) -> list[Finding]:
    """Start a pod, measure, and remove it. Raises what goes wrong with the pod, or the link to it."""
    steps: list[str] = []

    def note(event: Event) -> None:
        if isinstance(event, StartStep):
            steps.append(f"{event.detail.partition(': ')[2]} after {event.elapsed_s:.1f} s")

    began_s = time.monotonic()
    async with brief_shadow(api, options, note, does="doctor", pod_overlay=options.pod_overlay) as uplink:
        from ktpy.link.measure import measure  # brings asyncssh, for which the pod need not wait

        agent = (await uplink.wait_up()).agent
        took_s = time.monotonic() - began_s
        async with uplink.process(ECHO) as process:
            measured = await measure(process)
    seen = f"A pod of {options.image} took {took_s:.1f} s to let ktpy in ({', '.join(steps)}); it is removed again."
    pod = Finding("pod", State.OK, seen)
    if measured is None:
        seen = f"The agent in the pod (of ktpy {agent}) sends nothing back to measure by."
        mend = "Use the image of this version of ktpy, see --image."
        return [pod, Finding("tunnel", State.NOT_MADE, seen, mend)]
    trip_ms, rate = measured.round_trip_s * 1000, measured.bytes_per_s / 1e6
    seen = f"To the pod and back takes {trip_ms:.1f} ms; {rate:.0f} MB/s go both ways at once."
    return [pod, Finding("tunnel", State.OK, seen)]
