"""`ktpy capture` shows the packets between this laptop's programs and the cluster."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ktpy.cli import render
from ktpy.cli.options import Whole, output, verbose
from ktpy.daemon.caller import Caller

if TYPE_CHECKING:
    from ktpy.pcap.lines import PacketLine

MB = 1_000_000


@click.command()
@click.argument("filter_", nargs=-1, metavar="[FILTER]...")
@click.option("--write", "-w", "file", metavar="FILE", help="Write them to FILE for Wireshark (pcapng); - is a pipe's.")
@click.option("--file-size", "-C", type=Whole(1), metavar="MB", help="Begin another FILE_00002 at this size.")
@click.option("--files", "-W", type=Whole(1), metavar="N", help="Keep the last N of these.")
@click.option("--count", "-c", type=Whole(1), metavar="N", help="End after so many packets.")
@click.option(
    "--snapshot-length",
    "-s",
    type=Whole(40, 1 << 18),
    default=1 << 18,
    metavar="BYTES",
    help="Take no more of each packet.",
)
@click.option("--pid", type=int, metavar="PID", help="The session, where there are several; `ktpy status` shows them.")
@click.option("--fields", is_flag=True, help="Show every field of each packet.")
@output
@verbose
def capture(
    filter_: tuple[str, ...],
    file: str | None,
    file_size: int | None,
    files: int | None,
    count: int | None,
    snapshot_length: int,
    pid: int | None,
    fields: bool,
    output: str,
) -> None:
    """Show the packets of a `connect`, or of a `run`, with the names of the cluster; no root is needed.

    FILTER is of tcpdump's language: host, net, port and portrange, with src or dst before and tcp, udp, icmp, ip6 and
    the like; greater and less; and, or, not, and parentheses. A host may be a name of the cluster.

    \b
    ktpy capture
    ktpy capture tcp port 80 and host web
    ktpy capture -w shop.pcapng -C 10 -W 5 net 10.96.0.0/12
    ktpy capture -w - | wireshark -k -i -
    """
    if files and not file_size:
        raise click.UsageError("--files goes with --file-size.")
    if file_size and (file is None or file == "-"):
        raise click.UsageError("--file-size goes with --write FILE.")
    caller = Caller.become()
    from ktpy.sessions.capture import CaptureOptions
    from ktpy.sessions.capture import capture as take

    wanted = CaptureOptions(
        " ".join(filter_),
        pid,
        Path("/dev/stdout" if file == "-" else file) if file else None,
        (file_size or 0) * MB,
        files or 0,
        count,
        snapshot_length,
    )

    def show(line: "PacketLine", shown_fields: str) -> None:
        if output == "json":
            render.say_json(line._asdict(), indent=None)
        else:
            render.say(str(line), *shown_fields.splitlines())

    end = take(wanted, caller, None if file else show, with_fields=fields)
    dropped = f", {end.dropped} dropped" if end.dropped else ""
    render.say(f"{end.packets} packets{dropped}.", err=True)
