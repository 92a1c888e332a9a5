"""What the kernel knows of a claim: each name that it has looked up is a node with a number. Pure."""

import errno
import stat
from typing import Final, Optional

from ktpy.fuse.kernel import ROOT
from ktpy.wire.volume import Status


class Node:
    """A Node is a file as the kernel found it at a name. When somebody puts another there, that is another node."""

    __slots__ = ("children", "handles", "inode", "lookups", "name", "number", "parent", "seen")

    def __init__(self, number: int, parent: Optional["Node"], name: str, inode: tuple[int, int]) -> None:
        self.number = number
        self.parent = parent
        """None for the root, and for what has lost its name."""
        self.name = name
        self.inode = inode
        self.lookups = 0
        self.children: dict[str, Node] = {}
        self.handles: dict[int, object] = {}
        """Its open files, by their numbers."""
        self.seen: tuple[int, int] | None = None
        """Size and time of modification, as the kernel was told last."""

    def path(self, name: str = "") -> str:
        """Return its path, or that of a name in it. Raises OSError for what has lost its name."""
        parts, node = [name] if name else [], self
        while node.number != ROOT:
            if node.parent is None:
                raise OSError(errno.ESTALE, "it has been removed")
            parts.append(node.name)
            node = node.parent
        return "/".join(reversed(parts))


class Nodes:
    """Nodes are all that the kernel knows."""

    def __init__(self) -> None:
        self.root: Final = Node(ROOT, None, "", (0, 0))
        self._number = ROOT
        self._by_number = {ROOT: self.root}

    def __getitem__(self, number: int) -> Node:
        """Raises OSError for a node that there is not."""
        try:
            return self._by_number[number]
        except KeyError:
            raise OSError(errno.ESTALE, "there is no such node") from None

    def __len__(self) -> int:
        return len(self._by_number)

    def found(self, parent: Node, name: str, status: Status) -> Node:
        """Return the node of what was found at a name, which the kernel has looked up once more."""
        node = parent.children.get(name)
        if node is None or node.inode != identity(status):
            if node is not None:
                node.parent = None
            self._number += 1
            node = Node(self._number, parent, name, identity(status))
            parent.children[name] = self._by_number[node.number] = node
        node.lookups += 1
        node.seen = status.size, status.modified_ns
        return node

    def forget(self, number: int, lookups: int) -> None:
        """Forget so many lookups of a node, and with the last the node."""
        node = self._by_number.get(number)
        if node is None or number == ROOT:
            return
        node.lookups -= lookups
        if node.lookups <= 0:
            del self._by_number[number]
            if node.parent is not None and node.parent.children.get(node.name) is node:
                del node.parent.children[node.name]

    @staticmethod
    def removed(parent: Node, name: str) -> None:
        """The name is no more."""
        if (node := parent.children.pop(name, None)) is not None:
            node.parent = None

    def renamed(self, parent: Node, name: str, new_parent: Node, new_name: str, *, exchanged: bool = False) -> None:
        """What was at a name is at another; what was there is gone, or at the old one."""
        node, other = parent.children.pop(name, None), new_parent.children.pop(new_name, None)
        if other is not None:
            _place(other, parent if exchanged else None, name)
        if node is not None:
            _place(node, new_parent, new_name)


def _place(node: Node, parent: Node | None, name: str) -> None:
    node.parent, node.name = parent, name
    if parent is not None:
        parent.children[name] = node


def identity(status: Status) -> tuple[int, int]:
    """Return what stays while a file is the same."""
    return status.inode, stat.S_IFMT(status.mode)
