"""Tests of the lab itself (tests/lab). A package, so that its lab goes when the last of them is done."""
