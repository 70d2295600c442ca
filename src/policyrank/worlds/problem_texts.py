"""What the texts of programming problems and of answers hold: tests, imports, examples, code."""

from __future__ import annotations

import ast
import re

from policyrank.errors import EvidenceError


def check_statements(test: str, entry_point: str) -> list[str]:
    """The statements of HumanEval's ``check(candidate)`` as tests of their own.

    What stands before it goes with each of them.

    Raises
    ------
    EvidenceError
        When there is no such function.
    """
    check, setup = None, []
    for node in ast.parse(test).body:
        if check is None and isinstance(node, ast.FunctionDef) and node.name == "check":
            check = node
        elif not isinstance(node, ast.Expr):
            setup.append(ast.unparse(node))
    if check is None:
        raise EvidenceError("the test has no function check(candidate).")
    setup.append(f"{check.args.args[0].arg} = {entry_point}")
    out = []
    for node in check.body:
        text = ast.unparse(node)
        if any(isinstance(inner, ast.Assert) for inner in ast.walk(node)):
            out.append("\n".join([*setup, text]))
        else:
            setup.append(text)
    return out


def imports_of(prompt: str) -> str:
    """The import lines of a problem's text, on which answers rely."""
    found = ""
    for line in prompt.splitlines():
        if re.match(r"(from|import) \w", line):
            found += line + "\n"
    return found


def code_of(answer: str, entry_point: str | None = None) -> str:
    """The program in an answer: its fenced block, or the whole text.

    Of several blocks the last one that defines ``entry_point``, else the first.
    """
    # What stands behind the fence names the language.
    blocks = [block.partition("\n")[2] for block in answer.split("```")[1::2]]
    if entry_point is not None:
        for block in reversed(blocks):
            if f"def {entry_point}" in block:
                return block
    return (blocks or [answer])[0]


def docstring_examples(prompt: str, entry_point: str) -> list[tuple[str, str]]:
    """Calls of a function and what they give, as a problem's text shows them.

    ``>>> f(1)`` and the line after, ``f(1) == 2``, ``f(1) -> 2``.

    Examples
    --------
    >>> docstring_examples("Doubles. f(1) => 2\\n    >>> f(2)\\n    4\\n", "f")
    [('f(1)', '2'), ('f(2)', '4')]
    """
    out = []
    lines = prompt.splitlines()
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        call, wanted = _shown(line, after, entry_point)
        try:
            ast.parse(call, mode="eval")
            ast.literal_eval(wanted)
        except (SyntaxError, ValueError):
            continue
        if call.startswith(entry_point + "("):
            out.append((call, wanted))
    return out


def _shown(line: str, after: str, entry_point: str) -> tuple[str, str]:
    """A call and what it gives; empty where a line shows none."""
    text = line.strip().removeprefix(">>>").strip()
    if ">>>" in line and text:
        return text, after.strip()
    call = rf"({re.escape(entry_point)}\(.*?\))"
    found = re.search(rf"{call}\s*(?:==|=>|->|➞|returns|=)\s*(.+)", text)
    if found is None:
        return "", ""
    return found[1], found[2].rstrip(" .,;")
