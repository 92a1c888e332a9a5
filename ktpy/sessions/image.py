"""`ktpy image`: the agent image is built, and comes to where a cluster's nodes find it."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from ktpy import __version__
from ktpy.daemon import settings
from ktpy.frozen import dataclass
from ktpy.image import archive as archives
from ktpy.image import build, clusters, login, name
from ktpy.image.clusters import LocalCluster
from ktpy.image.registry import Registry
from ktpy.kube import kubeconfig
from ktpy.sessions.options import DEFAULT_IMAGE

__all__ = ["Brought", "LocalCluster", "Source", "load", "push", "remember"]


@dataclass(frozen=True, slots=True)
class Source:
    """A Source is where an image is from: an archive, or a build by what is there. `tell` hears of its steps."""

    tell: Callable[[str], None]
    archive: Path | None = None
    builder: str | None = None
    architecture: str | None = None
    rebuild: bool = False

    def get(self) -> Path:
        """Return an archive. Raises ImageNotBuilt."""
        if self.archive is not None:
            return self.archive
        return build.build(DEFAULT_IMAGE, self.builder, self.architecture, self.tell, anew=self.rebuild)


@dataclass(frozen=True, slots=True)
class Brought:
    """Brought is an image that a cluster's nodes can have now."""

    image: str
    platform: str
    digest: str
    """Of its manifest; empty where no registry has it."""
    cluster: str = ""
    """The one on this laptop that has it."""


def push(text: str, source: Source, *, plain_http: bool, authority: Path | None) -> Brought:
    """Push the image under this name, whose tag is ktpy's version unless it has one.

    `authority` is a file of certificates to trust.
    Raises UsageError, ImageNotBuilt, RegistryUnreachable, RegistryRefused.
    """
    target = name.parse(text, __version__)
    registry = Registry(target, login.find(target), plain_http=plain_http, authority=authority)
    with tempfile.TemporaryDirectory(prefix="ktpy-image-") as scratch:
        image = archives.read(source.get(), Path(scratch))
        return Brought(str(target), image.platform, registry.push(image, source.tell))


def load(source: Source, chosen: LocalCluster | None, files: str | None, context: str | None) -> Brought:
    """Load the image into a cluster of this laptop, by default into that of the kubeconfig's context.

    Raises UsageError, ImageNotBuilt, ImageNotLoaded, KubeconfigMissing, ContextUnknown.
    """
    cluster = chosen or _of_kubeconfig(files, context)
    cluster.require()
    with tempfile.TemporaryDirectory(prefix="ktpy-image-") as scratch:
        file = source.get()
        image = archives.read(file, Path(scratch))
        if source.archive is not None:  # it may have another name in there
            file = Path(scratch) / "image.tar"
            archives.write(image, DEFAULT_IMAGE, file)
        source.tell(f"{cluster} imports it")
        cluster.load(file)
        return Brought(DEFAULT_IMAGE, image.platform, "", str(cluster))


def remember(image: str) -> bool:
    """Make an image the default of --image. Returns whether it was another. Raises UsageError."""
    return settings.remember("image", None if image == DEFAULT_IMAGE else image)


def _of_kubeconfig(files: str | None, context: str | None) -> LocalCluster:
    target = kubeconfig.selected(files, context, None).target
    merged = kubeconfig.read(kubeconfig.paths(files))
    return clusters.of_context(target.context, merged["contexts"].get(target.context, {}), target.server)
