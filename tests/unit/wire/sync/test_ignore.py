from ktpy.wire.sync.ignore import Rules


def rules(**files: bytes) -> Rules:
    made = Rules()
    for folder, content in files.items():
        made.set(folder.encode(), content)
    return made


def test_the_last_pattern_that_matches_decides() -> None:
    made = rules(**{"": b"*.log\n!keep.log\n"})
    assert [made.ignores(path, False) for path in (b"a.log", b"d/a.log", b"keep.log", b"a")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_file_further_in_comes_before_one_further_out() -> None:
    made = rules(**{"": b"*.log", "d": b"!*.log"})
    assert made.ignores(b"a.log", False)
    assert not made.ignores(b"d/a.log", False)


def test_a_pattern_with_a_slash_is_relative_to_its_folder() -> None:
    made = rules(d=b"/a\nb/c\n")
    assert [made.ignores(path, False) for path in (b"d/a", b"d/x/a", b"d/b/c", b"a")] == [True, False, True, False]


def test_a_pattern_that_ends_in_a_slash_is_for_folders() -> None:
    made = rules(**{"": b"build/"})
    assert made.ignores(b"build", True)
    assert not made.ignores(b"build", False)


def test_git_and_our_own_files_never_leave() -> None:
    assert all(Rules().ignores(path, False) for path in (b".git", b"d/.git", b".ktpy-sync.1.tmp"))


def test_files_above_count_with_the_place_of_the_folder_below_them() -> None:
    made = rules(**{"/services/web": b"/services/web/out\n*.o\n", "//services/web": b"late\n*.keep", "/": b"!x.o"})
    assert [made.ignores(path, False) for path in (b"out", b"a/out", b"y.o", b"x.o", b"late")] == [
        True, False, True, False, True,
    ]  # fmt: skip


def test_rules_that_are_taken_back_do_not_count() -> None:
    made = rules(**{"": b"a"})
    made.set(b"", b"")
    assert not made.ignores(b"a", False)
