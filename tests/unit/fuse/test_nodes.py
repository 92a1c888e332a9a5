import stat

import pytest

from ktpy.fuse.nodes import Node, Nodes
from ktpy.wire.volume import Status


def status(inode: int, mode: int = stat.S_IFREG) -> Status:
    return Status(inode, mode, 1, 0, 0, 0, 0, 0)


@pytest.fixture
def nodes() -> Nodes:
    return Nodes()


@pytest.fixture
def folder(nodes: Nodes) -> Node:
    return nodes.found(nodes.root, "folder", status(1, stat.S_IFDIR))


def test_a_path_leads_from_the_root(nodes: Nodes, folder: Node) -> None:
    assert (nodes.root.path(), nodes.root.path("a")) == ("", "a")
    assert nodes.found(folder, "book", status(2)).path() == "folder/book"
    assert nodes[folder.number] is folder


def test_the_same_file_is_the_same_node_and_another_is_another(nodes: Nodes) -> None:
    first = nodes.found(nodes.root, "book", status(2))
    assert nodes.found(nodes.root, "book", status(2)) is first
    other = nodes.found(nodes.root, "book", status(3))
    assert (other.number == first.number, other.path()) == (False, "book")
    with pytest.raises(OSError, match="removed"):
        first.path()


def test_what_was_renamed_has_its_new_path_and_all_below_it(nodes: Nodes, folder: Node) -> None:
    book = nodes.found(folder, "book", status(2))
    replaced = nodes.found(nodes.root, "new", status(3, stat.S_IFDIR))
    nodes.renamed(nodes.root, "folder", nodes.root, "new")
    assert book.path() == "new/book"
    with pytest.raises(OSError, match="removed"):
        replaced.path()


def test_two_that_are_exchanged_have_each_others_names(nodes: Nodes, folder: Node) -> None:
    book = nodes.found(nodes.root, "book", status(2))
    nodes.renamed(nodes.root, "book", nodes.root, "folder", exchanged=True)
    assert (book.path(), folder.path()) == ("folder", "book")


def test_what_was_removed_has_no_path(nodes: Nodes, folder: Node) -> None:
    book = nodes.found(folder, "book", status(2))
    nodes.removed(folder, "book")
    nodes.removed(folder, "absent")
    with pytest.raises(OSError, match="removed"):
        book.path()


def test_it_is_known_until_the_last_lookup_is_forgotten(nodes: Nodes) -> None:
    book = nodes.found(nodes.root, "book", status(2))
    nodes.found(nodes.root, "book", status(2))
    nodes.forget(book.number, 1)
    assert nodes[book.number] is book
    nodes.forget(book.number, 1)
    with pytest.raises(OSError, match="no such node"):
        nodes[book.number]
    assert nodes.found(nodes.root, "book", status(2)) is not book


def test_the_root_stays(nodes: Nodes) -> None:
    nodes.forget(nodes.root.number, 1 << 60)
    nodes.forget(77, 1)
    assert nodes[1] is nodes.root
