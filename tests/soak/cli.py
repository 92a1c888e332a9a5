"""`scripts/soak`: options, the whole run, the verdict."""

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from tests.lab import Lab, LabError
from tests.lab.layout import REPOSITORY
from tests.soak import report
from tests.soak.run import Soak

logger = logging.getLogger(__name__)

EXIT_NOT_FLAT = 1
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
IMAGE_BUILD_TIMEOUT_S = 900.0


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        "scripts/soak",
        description="Use everything at once on the lab, lightly, for hours: connect, an exchange, a mesh, forward, dev,"
        " and run. Say whether memory and descriptors stay flat and every request was answered. Brings the lab up when"
        " it is not, and leaves it up; all else that it made is gone afterwards. Ctrl-C ends it early, with a verdict.",
        epilog="Exit code 1: something grows, a request was lost, or a session ended by itself.",
    )
    found.add_argument("--minutes", type=int, default=120, metavar="N", help="how long (default: 120)")
    found.add_argument("--output", choices=("text", "json"), default="text", help="of the verdict")
    found.add_argument("--samples", type=Path, metavar="FILE", help="the CSV with all samples (default: a new one)")
    found.add_argument("--lab", default="soak", metavar="NAME", help="which lab (default: soak)")
    return found


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    if not 1 <= options.minutes <= 7 * 24 * 60:
        parser().error("--minutes is 1 to 10080")
    if os.geteuid() != 0:
        print("the lab makes and enters namespaces: run the soak as root (sudo scripts/soak ...)", file=sys.stderr)
        return EXIT_NOT_FLAT
    logging.basicConfig(
        format="soak: %(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.INFO, stream=sys.stderr
    )
    stopped = threading.Event()
    for number in SIGNALS:
        signal.signal(number, lambda *_: stopped.set())
    path = options.samples or Path(tempfile.mkdtemp(prefix="ktpy-soak-")) / "samples.csv"
    logger.info("samples are in %s", path)
    try:
        verdict = Soak(_prepared(options.lab), options.minutes, path, stopped).run()
    except (LabError, AssertionError) as error:  # AssertionError: ktpy did not do as it was told
        print(f"The soak could not be run: {error}", file=sys.stderr)
        return EXIT_NOT_FLAT
    print(json.dumps(verdict.as_json(), indent=1) if options.output == "json" else report.table(verdict))
    return 0 if verdict.is_good else EXIT_NOT_FLAT


def _prepared(name: str) -> Lab:
    """The lab, up, with the agent's image."""
    lab = Lab.ensure_up(name)
    build = [REPOSITORY / "scripts/build-agent-image"]
    done = subprocess.run(build, stdout=subprocess.PIPE, text=True, check=False, timeout=IMAGE_BUILD_TIMEOUT_S)
    if done.returncode != 0:
        raise LabError("the agent image cannot be built (why is above)")
    lab.load_image(Path(done.stdout.strip()))
    lab.exec(["ktpy", "quit"], user="dev")  # of a soak that was killed
    lab.set_latency(0)
    return lab
