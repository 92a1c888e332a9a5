"""Runs the intercept side of ktpy.cluster on the lab's laptop, and tells in lines of JSON, for cluster_gateway/.

    python -m tests.e2e.gateway_probe --namespace NS VERB
        enter SERVICE --owner NAME [--kill-after STEP] [--kill-in-exit STEP]
        crowd SERVICE --people N --seed N
        clean [--expired-after-s S] [--dry-run]
        recover SERVICE [--evict]
        refuse TARGET --expose 3001:80 [--mesh]
        preview NAME --owner NAME [--ingress HOST] [--kill-after STEP] [--kill-in-exit STEP]

`enter` and `preview` stay until a line, or the end, of their input; `--clock-ahead-s` sets their clock wrong.
What fails is told as {"error": class, "message": ..., "hint": ...}.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import ktpy
from ktpy.cluster.api.client import Api
from ktpy.cluster.intercept import leftovers, ports, preview, recovery, targets
from ktpy.cluster.intercept.gateway import Gateway
from ktpy.cluster.intercept.plan import Plan
from ktpy.cluster.names import new_session_id
from ktpy.cluster.sharing import ownership
from ktpy.errors import KtpyError

IMAGE = f"ghcr.io/ktpy/agent:{ktpy.__version__}"
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


def tell(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


def step_teller(began: float, kill_after: str | None) -> Callable[[str], None]:
    """Tells each step that is done, and dies after the one named, as by SIGKILL from outside."""

    def note(step: str) -> None:
        tell(step=step, after_s=round(time.monotonic() - began, 3))
        if step == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    return note


async def until_told() -> None:
    """A line of the input, or its end. No thread: one that reads cannot be told to stop."""
    told = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    try:
        await told.readline()
    finally:
        transport.close()


@asynccontextmanager
async def renewing(part: Gateway | preview.Preview) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(part.ownership.keep())
        try:
            yield
        finally:
            keeping.cancel()


async def run_enter(api: Api, arguments: argparse.Namespace) -> None:
    if arguments.clock_ahead_s:
        ahead = timedelta(seconds=arguments.clock_ahead_s)
        ownership._now = lambda: (datetime.now(UTC) + ahead).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    ownership.RENEW_EVERY_S = arguments.renew_every_s
    plan = await plan_for(api, arguments.service, arguments.owner)
    gateway = Gateway(api, arguments.service, plan)
    tell(
        session=gateway.session, entry=[step.name for step in gateway.entry], exit=[step.name for step in gateway.exit]
    )
    began = time.monotonic()
    async with AsyncExitStack() as undo:
        undo.push_async_callback(gateway.leave, step_teller(time.monotonic(), arguments.kill_in_exit))
        await undo.enter_async_context(renewing(gateway))
        await gateway.enter(step_teller(began, arguments.kill_after))
        tell(entered=True)
        await until_told()
        began = time.monotonic()
    tell(left_after_s=round(time.monotonic() - began, 3))


async def plan_for(api: Api, service: str, owner: str) -> Plan:
    found = await targets.find(api, targets.Reference.parse(service))
    await targets.refuse_unsuitable(api, found)
    exposed = ports.exposed_ports(found, ports.parse_expose(["3001:80"]))
    return Plan(exposed=exposed, public_key=PUBLIC_KEY, image=IMAGE, owner=owner)


async def run_crowd(api: Api, arguments: argparse.Namespace) -> None:
    """People who join and leave one Service in a random order, each twice."""
    chance = random.Random(arguments.seed)
    entered: list[float] = []

    async def person(number: int, pauses_s: list[float]) -> None:
        for pause_s in pauses_s:
            await asyncio.sleep(pause_s)
            gateway = Gateway(api, arguments.service, await plan_for(api, arguments.service, f"person-{number}"))
            async with AsyncExitStack() as undo:
                undo.push_async_callback(gateway.leave)
                await undo.enter_async_context(renewing(gateway))
                began = time.monotonic()
                await gateway.enter()
                entered.append(time.monotonic() - began)
                await asyncio.sleep(pause_s)

    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number in range(arguments.people):
            tasks.create_task(person(number, [chance.uniform(0, arguments.pause_s) for _ in range(2)]))
    tell(took_s=round(time.monotonic() - began, 2), entered_after_s=[round(one, 2) for one in sorted(entered)])


async def run_clean(api: Api, arguments: argparse.Namespace) -> None:
    found = await leftovers.find(api, api.namespace, expired_after_s=arguments.expired_after_s)
    for one in found:
        tell(found=one.kind, name=one.name, reason=one.reason)
    if not arguments.dry_run:
        began = time.monotonic()
        removed, failures = await leftovers.remove(api, api.namespace, expired_after_s=arguments.expired_after_s)
        tell(removed=len(removed), failures=[str(one) for one in failures], took_s=round(time.monotonic() - began, 2))


async def run_recover(api: Api, arguments: argparse.Namespace) -> None:
    recovered = await recovery.recover(api, arguments.service, evict=arguments.evict)
    tell(selector=recovered and recovered.selector, source=recovered and recovered.source)


async def run_refuse(api: Api, arguments: argparse.Namespace) -> None:
    service = await targets.find(api, targets.Reference.parse(arguments.target))
    await targets.refuse_unsuitable(api, service)
    exposed = ports.exposed_ports(service, ports.parse_expose(arguments.expose), is_mesh=arguments.mesh)
    tell(service=service["metadata"]["name"], exposed=[[one.local, one.remote] for one in exposed])


async def run_preview(api: Api, arguments: argparse.Namespace) -> None:
    preview.refuse_name(arguments.name)
    plan = Plan(
        exposed=preview.preview_ports(ports.parse_expose(["3001:8080"])),
        public_key=PUBLIC_KEY,
        image=IMAGE,
        owner=arguments.owner,
        session=new_session_id(),
    )
    part = preview.Preview(api, arguments.name, plan, ingress_host=arguments.ingress)
    tell(session=part.session, entry=[step.name for step in part.entry], exit=[step.name for step in part.exit])
    async with AsyncExitStack() as undo:
        undo.push_async_callback(part.leave, step_teller(time.monotonic(), arguments.kill_in_exit))
        await undo.enter_async_context(renewing(part))
        await part.enter(step_teller(time.monotonic(), arguments.kill_after))
        tell(entered=True)
        await until_told()
    tell(left=True)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--namespace")
    verbs = parser.add_subparsers(required=True)

    def verb(name: str, run: Callable[[Api, argparse.Namespace], Awaitable[None]], what: str | None) -> Any:
        added = verbs.add_parser(name)
        added.set_defaults(run=run)
        if what is not None:
            added.add_argument(what)
        return added

    enter = verb("enter", run_enter, "service")
    enter.add_argument("--clock-ahead-s", type=float, default=0.0)
    enter.add_argument("--renew-every-s", type=float, default=ownership.RENEW_EVERY_S)
    crowd = verb("crowd", run_crowd, "service")
    crowd.add_argument("--people", type=int)
    crowd.add_argument("--seed", type=int)
    crowd.add_argument("--pause-s", type=float, default=4.0)
    clean = verb("clean", run_clean, None)
    clean.add_argument("--expired-after-s", type=float, default=ownership.EXPIRED_AFTER_S)
    clean.add_argument("--dry-run", action="store_true")
    verb("recover", run_recover, "service").add_argument("--evict", action="store_true")
    refuse = verb("refuse", run_refuse, "target")
    refuse.add_argument("--expose", action="append")
    refuse.add_argument("--mesh", action="store_true")
    previewing = verb("preview", run_preview, "name")
    previewing.add_argument("--ingress")
    for one in (enter, previewing):
        one.add_argument("--owner", default="alice")
        one.add_argument("--kill-after")
        one.add_argument("--kill-in-exit")
    arguments = parser.parse_args()
    try:
        api = await Api.load(namespace=arguments.namespace)
        try:
            await arguments.run(api, arguments)
        finally:
            await api.close()
    except* KtpyError as group:
        failure: BaseException = group
        while isinstance(failure, BaseExceptionGroup):
            failure = failure.exceptions[0]
        with suppress(AttributeError):
            tell(error=type(failure).__name__, message=str(failure), hint=getattr(failure, "hint", None))


if __name__ == "__main__":
    asyncio.run(main())
