"""A claim as a file system of the program's own: real programs, the kernel's FUSE, and the agent's code behind it."""

import hashlib
import os
import select
import shutil
import signal
import subprocess
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ktpy.errors import HelperFailed
from tests.lab.processes import wait_until
from tests.net.capture.namespace.conftest import DEV, Box
from tests.net.capture.namespace.stage import CLAIM, LINK_PID

pytestmark = pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="this machine's kernel has no FUSE")
MIB = 1 << 20
FOLDER = "/run/claim"


@pytest.fixture
def claim(box: Box) -> Iterator[Path]:
    """The claim's folder, as other pods see it, which the agent may write to: it is the user here."""
    folder = box.root / FOLDER.lstrip("/")
    folder.mkdir()
    os.chown(folder, DEV, DEV)
    yield folder
    shutil.rmtree(folder)


def command(box: Box, *words: str, by: str = "a user", **variables: str) -> list[str]:
    given = {"KTPY_TEST_WORKLOAD": "1", "KTPY_TEST_CLAIM": FOLDER, **variables}
    return ["env", *(f"{name}={value}" for name, value in given.items()), *box.command(*words, by=by)]


def in_claim(box: Box, script: str, by: str = "a user", **variables: str) -> str:
    """What a shell script in the claim prints."""
    words = command(box, "bash", "-ec", f"cd {CLAIM}\n{script}", by=by, **variables)
    done = subprocess.run(words, check=False, text=True, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@contextmanager
def beside(box: Box, program: str) -> Iterator[subprocess.Popen[str]]:
    """A Python program in the claim, with which the test talks line by line."""
    words = command(box, "python3", "-uc", f"import os; os.chdir({CLAIM!r})\n" + textwrap.dedent(program))
    process = subprocess.Popen(words, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def told(process: subprocess.Popen[str], *lines: str) -> list[str]:
    """Its answers to lines."""
    assert process.stdin
    assert process.stdout
    answers = []
    for line in lines:
        process.stdin.write(line + "\n")
        process.stdin.flush()
        answers.append(process.stdout.readline().rstrip("\n"))
    return answers


@contextmanager
def for_root_alone(box: Box, *devices: str) -> Iterator[None]:
    box.run("chmod", "600", *devices)
    try:
        yield
    finally:
        box.run("chmod", "666", *devices)


def test_without_the_device_it_is_kept_alike(box: Box, claim: Path) -> None:
    (claim / "book").write_text("opened\n")
    with for_root_alone(box, "/dev/fuse"):
        assert in_claim(box, "cat book; echo mine > mine; stat -fc %T .") == "opened\ntmpfs\n"
    assert (claim / "mine").read_text() == "mine\n"


def test_under_sudo_it_needs_no_device_that_users_may_open(box: Box, claim: Path) -> None:
    with for_root_alone(box, "/dev/fuse", "/dev/net/tun"):
        assert in_claim(box, "echo mine > mine; stat -fc %T .; stat -c %U mine", by="sudo") == "fuseblk\ndev\n"
    assert (claim / "mine").read_text() == "mine\n"


def test_what_the_claim_has_is_there_and_what_the_program_writes_is_in_it(box: Box, claim: Path) -> None:
    (claim / "book").write_text("opened\n")
    script = "cat book; echo mine > mine; mkdir -p a/b; ln -s ../book a/link; cat a/link; stat -fc %T ."
    assert in_claim(box, script).split() == ["opened", "opened", "fuseblk"]
    assert (claim / "mine").read_text() == "mine\n"
    assert (claim / "a" / "link").readlink() == Path("../book")


def test_git_commits(box: Box, claim: Path) -> None:
    script = """
    git init -q -b main .
    git config user.name dev; git config user.email dev@example.com
    for i in $(seq 20); do echo $i > file$i; done
    git add .; git commit -qm one; git mv file1 moved; git commit -qm two; git gc -q
    git status --porcelain; git fsck --strict 2>/dev/null; git rev-list --count HEAD
    """
    assert in_claim(box, script) == "2\n"
    assert (claim / "moved").read_text() == "1\n"


def test_a_database_has_its_locks(box: Box, claim: Path) -> None:
    """They count among the programs of this laptop."""
    script = """
    insert() { for i in $(seq 15); do sqlite3 -cmd '.timeout 20000' $1 "insert into t values($i)"; done; }
    for journal in delete wal; do
        sqlite3 $journal "pragma journal_mode=$journal; create table t(x)"
        insert $journal & insert $journal & wait
        sqlite3 $journal 'pragma integrity_check; select count(*) from t'
    done
    """
    assert in_claim(box, script).split() == ["delete", "ok", "30", "wal", "ok", "30"]
    assert (claim / "wal").exists()


def test_trees_are_copied_whole(box: Box, claim: Path) -> None:
    script = """
    mkdir /tmp/ktpy-tree-$$; cd /tmp/ktpy-tree-$$; trap "rm -rf /tmp/ktpy-tree-$$" EXIT
    mkdir -p from/d/e; head -c 300000 /dev/urandom > from/d/large; echo x > from/x
    ln from/x from/hard; ln -s x from/soft
    chmod 640 from/x; chmod 2755 from/d; touch -d '2001-02-03 04:05:06.789' from/d/large; mkfifo from/pipe
    touch "from/$(printf 'no\\377utf')"; for i in $(seq 300); do echo $i > from/d/e/$i; done
    cp -a from CLAIM/copied; diff -r --no-dereference -x pipe from CLAIM/copied
    tar -cf - from | tar -xpf - -C CLAIM; tar -cf - -C CLAIM from | tar --compare -f -; ls CLAIM/from/d/e | wc -l
    (cd from; find . -printf '%P %m %s %n %T@ %l\\n' | sort | grep -av '^d/e \\|^d \\|^ ') > one
    (cd CLAIM/copied; find . -printf '%P %m %s %n %T@ %l\\n' | sort | grep -av '^d/e \\|^d \\|^ ') > other
    cmp one other; rm -r CLAIM/copied
    """
    assert in_claim(box, script.replace("CLAIM", CLAIM)) == "300\n"
    assert sorted(one.name for one in claim.iterdir()) == ["from"]


def test_64_mib_go_both_ways(box: Box, claim: Path) -> None:
    (claim / "come").write_bytes(os.urandom(64 * MIB))
    script = "dd if=come of=gone bs=1M conv=fsync status=none; sha256sum < come; sha256sum < gone"
    digest = hashlib.sha256((claim / "come").read_bytes()).hexdigest()
    assert in_claim(box, script).split() == [digest, "-", digest, "-"]
    assert hashlib.sha256((claim / "gone").read_bytes()).hexdigest() == digest


READS = """
import sys
for line in sys.stdin:
    print(open("book").read())
"""


def test_what_others_write_is_read_at_once(box: Box, claim: Path) -> None:
    book, new = claim / "book", claim / "new"
    book.write_text("0")
    with beside(box, READS) as program:
        assert told(program, "") == ["0"]
        for number in range(1, 40):
            if number % 2:
                book.write_text(str(number) * number)
            else:  # another file with its name
                new.write_text(str(number) * number)
                new.replace(book)
            assert told(program, "") == [str(number) * number]


EDITS = """
import mmap, sys
log, held, gone = open("log", "a"), open("held", "r+"), open("gone", "w+")
os.unlink("gone")
os.rename("new", "held")
memory = mmap.mmap(os.open("mapped", os.O_RDWR), 4)
for line in sys.stdin:
    log.write("here" * 20 + chr(10)); log.flush()
    memory[:4] = line.encode()[:4]; memory.flush()
    gone.seek(0); gone.write(line); gone.flush(); gone.seek(0)
    print(held.read() + gone.read(), end="")
    os.fsync(log.fileno())
"""


def test_files_that_are_open_are_those_that_were_opened(box: Box, claim: Path) -> None:
    """The program appends to one, to which another pod does as well."""
    for name, text in (("held", "old "), ("new", "new "), ("mapped", "....")):
        (claim / name).write_text(text)
        os.chown(claim / name, DEV, DEV)
    with beside(box, EDITS) as program:
        assert told(program, "abcd") == ["old abcd"]
        assert (claim / "mapped").read_text() == "abcd"
        for number in range(20):
            with (claim / "log").open("a") as log:
                log.write("there" * 20 + "\n")
            assert told(program, f"{number:04}") == [f"{number:04}"]
    assert (claim / "held").read_text() == "new "
    assert not (claim / "gone").exists()
    lines = (claim / "log").read_text().splitlines()
    assert sorted(lines) == ["here" * 20] * 21 + ["there" * 20] * 20


def test_a_claim_that_is_read_only_stays_so(box: Box, claim: Path) -> None:
    (claim / "book").write_text("opened")
    script = "cat book; { echo x > book; } 2>&1 | grep -o 'Read-only file system'"
    assert in_claim(box, script, KTPY_TEST_READ_ONLY="1") == "openedRead-only file system\n"


def test_what_is_mounted_in_it_belongs_to_others(box: Box, claim: Path) -> None:
    """The folder for that is made in the claim, as a kubelet makes it."""
    script = "echo x > scratch/x; echo y > y; stat -fc %T . scratch"
    assert in_claim(box, script, KTPY_TEST_INNER="1") == "fuseblk\ntmpfs\n"
    assert sorted(one.relative_to(claim).as_posix() for one in claim.rglob("*")) == ["scratch", "y"]


def test_the_program_goes_on_over_another_link(box: Box, claim: Path) -> None:
    """It has files open, and reads and writes them as if nothing had been."""
    (claim / "book").write_text("opened")
    goes_on = """
    import sys
    book, log = open("book"), open("log", "w")
    for line in sys.stdin:
        log.write(line); log.flush(); book.seek(0)
        print(book.read(), sorted(os.listdir(".")))
    """
    with beside(box, goes_on) as program:
        for number in range(3):
            assert told(program, f"{number}") == ["opened ['book', 'log']"]
            cut_link(box)
    assert (claim / "log").read_text() == "0\n1\n2\n"


def cut_link(box: Box) -> None:
    os.kill(int((box.root / LINK_PID.relative_to("/")).read_text()), signal.SIGKILL)


OPENS = """
import errno, sys
files = {name: open(name) for name in ("book", "gone", "replaced")}
def tried(do):
    try:
        return do()
    except OSError as error:
        return errno.errorcode[error.errno]
for line in sys.stdin:
    print([tried(lambda: files[name].read()) for name in line.split()], sorted(os.listdir()), flush=True)
"""


def test_another_pod_has_the_claim_as_it_is_there(box: Box, claim: Path) -> None:
    """Files that the program has open are read on where they are the same still, and are an error where not."""
    for name in ("book", "gone", "replaced"):
        (claim / name).write_text(name)
    with beside(box, OPENS) as program:
        assert told(program, "") == ["[] ['book', 'gone', 'replaced']"]
        former = claim.rename(claim.with_name("former"))  # as where the node of the new pod has mounted it
        claim.mkdir()
        (former / "book").rename(claim / "book")
        shutil.copy(former / "replaced", claim)
        cut_link(box)
        assert told(program, "book gone replaced") == ["['book', 'ENOENT', 'ESTALE'] ['book', 'replaced']"]
    shutil.rmtree(former)


WRITES = """
import signal, sys
from contextlib import suppress
signal.signal(signal.SIGHUP, signal.SIG_IGN)
print(os.getpid(), flush=True)
while True:
    with suppress(OSError), open("book", "w") as book:
        book.write("x" * 5000)
"""


@pytest.mark.parametrize("whom", ["ktpy", "helper"])
def test_nothing_is_left_of_one_that_is_killed(box: Box, claim: Path, whom: str) -> None:
    """Not the program either, which heeds no hang-up, and is at work in the claim; nor is the claim mounted."""
    with beside(box, WRITES) as ktpy:
        assert ktpy.stdout
        program = int(ktpy.stdout.readline())
        helper, mounts = helper_of(program), mounts_of(Path(f"/proc/{program}"))
        ended = os.pidfd_open(program)
        os.kill(ktpy.pid if whom == "ktpy" else helper, signal.SIGKILL)
        assert select.select([ended], [], [], 60)[0], "the program goes on"
        if whom == "helper":
            assert ktpy.wait(60) == HelperFailed.exit_code
    os.close(ended)
    wait_until(
        lambda: mounts not in map(mounts_of, Path("/proc").glob("[0-9]*")), 60, "nobody to see the claim mounted"
    )
    assert CLAIM not in box.run("cat", "/proc/self/mountinfo")


def helper_of(program: int) -> int:
    """The process that holds the program's network."""
    own = Path(f"/proc/{program}/ns/net").stat().st_ino
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"ktpy.helper" in (process / "cmdline").read_bytes() and (process / "ns/net").stat().st_ino == own:
                return int(process.name)
    raise AssertionError("no helper")


def mounts_of(process: Path) -> int:
    """The mount namespace that a process is in; 0 for one that has ended."""
    try:
        return (process / "ns/mnt").stat().st_ino
    except OSError:
        return 0
