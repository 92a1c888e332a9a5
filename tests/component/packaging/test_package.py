"""What `scripts/package` builds, installed by dpkg into a copy of this machine's files that goes with its namespace."""

import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.lab.locks import locked

REPOSITORY = Path(__file__).parents[3]

IN_A_COPY = """
set -eu
mount -t tmpfs tmpfs "$1"
mkdir "$1/written" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/written,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
cp "$2" "$1/root/tmp/ktpy.deb"
chroot "$1/root" sh -euxc "$3"
cd "$1/written"
find . ! -type d ! -path './tmp/*' ! -path './var/lib/dpkg/*' ! -path './var/log/*' ! -path './var/cache/*'
"""
"""Runs $3 in a copy of this machine that has the package $2, and prints what it leaves. Its mounts go with it."""

INSTALLED = """
exec >&2
dpkg --install /tmp/ktpy.deb
ktpy --help
ktpy version | grep -q '^ktpy {version}$'
test -x /usr/lib/ktpy/site-packages/ktpy/agent-image/ktpy-agent
kubectl-ktpy --help | grep -q '^Usage: kubectl ktpy'
setpriv --reuid=65534 --clear-groups ktpy status || test $? = 36
/usr/lib/ktpy/bin/python3 -Ic 'import ktpy.kube.kubernetes_compat
import ktpy.helper.install as install
assert not install.remark_on_install()'
gzip --decompress --stdout /usr/share/man/man1/ktpy.1.gz | grep -q '^.TH KTPY 1'
test -e /usr/share/man/man1/kubectl-ktpy.1.gz
bash -c 'source /usr/share/bash-completion/completions/ktpy; complete -p ktpy'
grep -q '^#compdef ktpy' /usr/share/zsh/vendor-completions/_ktpy
test -s /usr/share/fish/vendor_completions.d/ktpy.fish
test -n "$(find /usr/lib/ktpy/site-packages/ktpy -name 'errors.*.pyc')"
dpkg --verify ktpy
dpkg --install /tmp/ktpy.deb
dpkg --purge ktpy
test ! -e /usr/lib/ktpy
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory, testrun_uid: str) -> Path:
    """The folder with what is built, once for all processes of this run: half a minute, and a download at first."""
    folder = tmp_path_factory.getbasetemp().parent / f"packages-{testrun_uid}"
    with locked(folder.with_suffix(".lock"), waiting_for="the packages"):
        if not (folder / "SHA256SUMS").exists():
            command = ["scripts/package", "--output", str(folder)]
            done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
    return folder


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def test_the_deb_works_for_every_user_and_leaves_nothing(packages: Path, tmp_path: Path) -> None:
    deb = only(packages, "ktpy_*.deb")
    namespaces = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child"]
    commands = INSTALLED.format(version=deb.name.split("_")[1])
    done = subprocess.run(
        [*namespaces, "sh", "-c", IN_A_COPY, "sh", tmp_path, deb, commands], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_the_plugin_is_what_krew_unpacks_and_its_checksum_is_in_the_manifest(packages: Path, tmp_path: Path) -> None:
    archive = only(packages, "kubectl-ktpy-*.tar.gz")
    with tarfile.open(archive) as opened:
        assert [one.name for one in opened if not (one.isfile() or one.isdir()) or ".." in one.name] == []
    (tmp_path / "store").mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", tmp_path / "store"], check=True)
    plugin = tmp_path / "kubectl-ktpy"
    plugin.symlink_to("store/kubectl-ktpy")
    for _ in ("makes its environment", "finds it"):
        done = subprocess.run([plugin, "version"], capture_output=True, text=True, check=False)
        assert done.stdout.startswith("ktpy "), done.stderr
    checksum = subprocess.run(["sha256sum", archive], capture_output=True, text=True, check=True).stdout.split()[0]
    assert f"sha256: {checksum}" in (packages / "ktpy.yaml").read_text()
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=packages, check=True)
