"""Tests lie as the code lies, so that whoever changes a module finds what is said of it."""

from pathlib import Path

import modelhost

TESTS = Path(__file__).parent
CODE = Path(modelhost.__file__).parent
OF_THE_WHOLE = {"e2e", "support"}
"""Folders of tests that are of no room: real models and clients, and what tests share."""


def folders(root: Path, pattern: str) -> set[Path]:
    return {file.parent.relative_to(root) for file in root.rglob(pattern)}


def test_every_folder_of_tests_is_a_room_of_the_host() -> None:
    tested = {folder for folder in folders(TESTS, "test_*.py") if not OF_THE_WHOLE & {*folder.parts}}
    assert tested - folders(CODE, "*.py") == set()


def test_every_room_of_the_host_has_tests() -> None:
    rooms = {folder.parts[0] for folder in folders(CODE, "*.py") if folder.parts}
    assert rooms - {folder.parts[0] for folder in folders(TESTS, "test_*.py") if folder.parts} == set()
