"""Source code has an outline: its definitions, and what its first comment says."""

import pytest

from chatbackend.domain.code import is_code, leading_comment, outline
from chatbackend.domain.documents import Document


@pytest.mark.parametrize(
    ("title", "expected"),
    [("a/b.py", True), ("Main.JAVA", True), ("report.pdf", False), ("py", False), (".py", False), (None, False)],
)
def test_a_file_name_tells_code_from_text(title: str | None, *, expected: bool) -> None:
    assert is_code(Document("x", title=title)) is expected


def names(text: str) -> list[tuple[int, str]]:
    return [(each.level, text[each.start : each.end]) for each in outline(text)]


def test_definitions_nest_by_their_indent() -> None:
    text = "class A:\n    def f(self):\n        def g(): pass\n    def h(self): ...\ndef i(): ..."
    assert names(text) == [
        (1, "class A:"),
        (2, "def f(self):"),
        (3, "def g(): pass"),
        (2, "def h(self): ..."),
        (1, "def i(): ..."),
    ]


def test_a_definition_begins_with_the_comment_and_the_decorators_directly_above() -> None:
    assert names("x = 1\n# why\n@cached\ndef f(): ...") == [(1, "# why\n@cached\ndef f(): ...")]


@pytest.mark.parametrize("text", ["# apart\n\ndef f(): ...", "# inner\n  def f(): ..."])
def test_a_comment_elsewhere_is_not_its(text: str) -> None:
    assert names(text) == [(1, "def f(): ...")]


@pytest.mark.parametrize(
    "line",
    [
        "async def f(a):",
        "export default function foo(a) {",
        "const bar = async (x) => {",
        "interface Shape {",
        "func (s *Server) Run(ctx context.Context) error {",
        "pub(crate) fn new() -> Self {",
        "impl Shape for Circle {",
        "type Celsius float64",
        "public static void main(String[] args) {",
        "static int max(int a, int b) {",
        "CREATE OR REPLACE VIEW totals AS",
    ],
)
def test_definitions_of_many_languages_are_known(line: str) -> None:
    assert names(line) == [(1, line)]


@pytest.mark.parametrize(
    "line",
    ["return foo(bar)", "foo(bar);", "x = foo(bar)", "if (a) {", "# def f():", "classes = 3", f"def f({'a' * 240}"],
)
def test_statements_and_endless_lines_define_nothing(line: str) -> None:
    assert names(line) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"""Sorts\nfast."""\nx = 1', "Sorts fast."),
        ("'''Sorts.'''", "Sorts."),
        ("#!/bin/sh\n# Sorts\n# fast.\necho", "Sorts fast."),
        ("/*\n * Sorts fast.\n */\nint x;", "Sorts fast."),
        ("// Copyright 2020 Someone\n\n// Sorts.\n", "Sorts."),
        ('# -*- coding: utf-8 -*-\n"""Sorts."""', "Sorts."),
        ("x = 1\n# late", ""),
        ('"""never closed', ""),
        ("#\n#\n", ""),
        ("", ""),
        (f"# {'long ' * 100}", ("long " * 40)),
    ],
)
def test_the_first_comment_says_what_a_file_is_for(text: str, expected: str) -> None:
    assert leading_comment(text) == expected
