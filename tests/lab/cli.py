"""The verbs of scripts/lab. Each imports what it needs: `exec` is called often, and must start fast."""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.lab.errors import LabError
from tests.lab.layout import DEFAULT_NAME, FIRST_LAPTOP, Layout
from tests.lab.report import say

DESCRIPTION = """\
A real one-node, dual-stack Kubernetes in namespaces of this machine, and a laptop joined to it by a cable.
Neither has a route to anywhere else. Everything is gone after `down`; what is built stays in the user's cache.
"""
RESOLVER_MODES = ("file", "symlink", "bind", "systemd-resolved")
PROXY_MODES = ("iptables", "nftables")
POLICIES = ("ignored", "enforced")
INGRESS = ("none", "contour")
CONTAINERDS = ("machine", "2")
CHOICES = ("kubernetes", "proxy_mode", "network_policies", "ingress", "containerd", "feature_gates")
COMMAND_VERBS = {"exec": ("--user", "--laptop", "--name"), "node": ("--name",), "kubectl": ("--name",)}
EXIT_FAILURE = 1


def split_command(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our own arguments, and the command that `exec`, `node` and `kubectl` pass on untouched."""
    words = list(arguments)
    for index, word in enumerate(words):
        if index and words[index - 1] == "--name":
            continue
        if not word.startswith("-"):
            if word not in COMMAND_VERBS:
                return words, []
            own, rest = words[: index + 1], words[index + 1 :]
            break
    else:
        return words, []
    options = COMMAND_VERBS[word]
    while rest and rest[0].split("=")[0] in options:
        taken = 1 if "=" in rest[0] else 2
        own, rest = own + rest[:taken], rest[taken:]
    if word == "exec" and rest and rest[0] in ("-h", "--help"):
        own, rest = [*own, rest[0]], rest[1:]
    return own, rest[1:] if rest[:1] == ["--"] else rest


def parser() -> argparse.ArgumentParser:
    name = argparse.ArgumentParser(add_help=False)
    name.add_argument("--name", default=argparse.SUPPRESS, help="which lab (default: ktpy); several live side by side")
    root = argparse.ArgumentParser("scripts/lab", description=DESCRIPTION, parents=[name])
    verbs = root.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(word: str, text: str, usage: str | None = None) -> argparse.ArgumentParser:
        return verbs.add_parser(word, help=text, description=text, parents=[name], usage=usage)

    up = verb(
        "up", "build what is missing, start, wait until pods can run; a lab that is up keeps what is not named here"
    )
    up.add_argument("--kubernetes", metavar="VERSION", help="another release of it, such as 1.35, or 1.35.4")
    up.add_argument("--proxy-mode", choices=PROXY_MODES, help="kube-proxy's")
    up.add_argument("--network-policies", choices=POLICIES, help="by an engine of their own; else by nobody")
    up.add_argument("--ingress", choices=INGRESS, help="who serves Ingresses and the Gateway API; else nobody")
    up.add_argument("--containerd", choices=CONTAINERDS, help="the machine's own, or 2.x and runc, which are built")
    up.add_argument("--feature-gates", metavar="NAME=true,...", help="of the API server and the kubelet")
    verb("down", "remove everything, whatever state it is in")
    verb("status", "what runs").add_argument("--output", choices=("text", "json"), default="text")
    usage = "scripts/lab exec [--name NAME] [--laptop K] [--user NAME] -- COMMAND ..."
    execute = verb("exec", "run a command on the laptop", usage)
    execute.add_argument("--user", default="root", help="root (default) or dev, who may sudo without a password")
    execute.add_argument("--laptop", type=int, default=FIRST_LAPTOP, metavar="K", help="which of several laptops")
    laptops = verb("laptops", "have this many laptops; all but the first see the API server only")
    laptops.add_argument("count", type=int, metavar="N")
    verb("kubectl", "kubectl as cluster-admin", "scripts/lab kubectl ARGUMENT ...")
    verb("node", "run a command on the node", "scripts/lab node COMMAND ...")
    verb("load", "import an image into the node").add_argument("archive", type=Path, metavar="IMAGE.tar")
    kubeconfig = verb("kubeconfig", "print a kubeconfig for a user without rights; bind them with kubectl")
    kubeconfig.add_argument("--user-name", required=True)
    kubeconfig.add_argument("--group", action="append", default=[])
    latency = verb("latency", "put the node this round trip away, by packets; 0 without --loss takes it away")
    latency.add_argument("milliseconds", type=int, metavar="MS")
    latency.add_argument("--loss", type=float, default=0.0, metavar="PERCENT", help="of the packets, each way")
    resolver = verb("resolver", "how the laptop resolves names; without MODE, print it")
    resolver.add_argument("mode", nargs="?", choices=RESOLVER_MODES, metavar=f"[{'|'.join(RESOLVER_MODES)}]")
    verb("api-restart", "end the API server; it starts again")
    cut = verb("cut", "pull the cable between laptop and node for a while")
    cut.add_argument("--laptop", type=int, default=FIRST_LAPTOP, metavar="K", help="whose cable")
    cut.add_argument("seconds", type=float)
    verb("base", "print the path of a Debian root file-system tar to build images on")
    return root


def main(arguments: Sequence[str]) -> None:
    own, command = split_command(arguments)
    options = parser().parse_args(own)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that `cut` plugs in again
    try:
        _run(options, command)
    except LabError as error:
        say(str(error))
        sys.exit(EXIT_FAILURE)
    except subprocess.CalledProcessError as error:  # its own words are above
        say(f"`{shlex.join(map(str, error.cmd))}` failed")
        sys.exit(EXIT_FAILURE)
    except KeyboardInterrupt:
        sys.exit(130)


def _run(options: argparse.Namespace, command: list[str]) -> None:
    layout = Layout(getattr(options, "name", DEFAULT_NAME))
    if options.verb in COMMAND_VERBS and not command:
        raise LabError(f"{options.verb}: which command?")
    if os.geteuid() != 0:
        raise LabError("the lab makes and enters namespaces: run it as root (sudo scripts/lab ...)")
    if options.verb == "exec":
        from tests.lab import laptop

        laptop.replace_process(Layout(layout.name, options.laptop), command, options.user)
    from tests.lab import lifecycle, variant

    match options.verb:
        case "up":
            chosen = {key: value for key in CHOICES if (value := getattr(options, key)) is not None}
            if "kubernetes" in chosen:
                chosen["kubernetes"] = variant.release(chosen["kubernetes"])
            lifecycle.up(layout, **chosen)
        case "down":
            lifecycle.down(layout)
        case "status":
            _print_status(lifecycle.status(layout), options.output)
        case "base":
            from tests.lab import debian, images

            debian.ensure_packages(debian.REQUIREMENTS)
            print(images.base_tar())
        case _:
            if not lifecycle.is_up(layout):
                raise LabError(f"lab {layout.name!r} is not up: scripts/lab --name {layout.name} up")
            _run_on_lab(layout, options, command)


def _run_on_lab(layout: Layout, options: argparse.Namespace, command: list[str]) -> None:
    """The verbs that need a lab that is up."""
    from tests.lab.lab import Lab

    lab = Lab(layout.name)
    match options.verb:
        case "kubectl":
            lab.become_kubectl(command)
        case "node":
            lab.become_node_command(command)
        case "laptops":
            from tests.lab import laptops

            laptops.ensure(layout, options.count)
        case "load":
            lab.load_image(options.archive)
        case "kubeconfig":
            sys.stdout.write(lab.kubeconfig(options.user_name, options.group).read_text())
        case "latency":
            lab.set_latency(options.milliseconds, lost_percent=options.loss)
        case "resolver":
            print(lab.resolver_mode) if options.mode is None else lab.set_resolver(options.mode)
        case "api-restart":
            lab.restart_api()
        case "cut":
            Lab(layout.name, options.laptop).cut(options.seconds)


def _print_status(facts: dict[str, object], output: str) -> None:
    if output == "json":
        print(json.dumps(facts, indent=2))
        return
    width = max(len(key) for key in facts)
    for key, value in facts.items():
        print(f"{key.replace('_', ' '):{width}}  {value}")
