"""What docstrings say of parameters is so."""

import ast
from pathlib import Path

import pytest
from docstring_parser import DocstringStyle, parse

SOURCE = Path(__file__).parents[1] / "src" / "policyrank"
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCE.rglob("*.py")}
CLASSES = {
    node.name: node
    for tree in TREES.values()
    for node in ast.walk(tree)
    if isinstance(node, ast.ClassDef)
}


def functions(node, owner=""):
    """Public functions and methods, each with the class that it belongs to."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from functions(child, child.name)
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield owner, child


def fields(name):
    """Of a class and of those above it."""
    node = CLASSES.get(name)
    if node is None:
        return set()
    own = {part.target.id for part in node.body if isinstance(part, ast.AnnAssign)}
    return own.union(*(fields(base.id) for base in node.bases if isinstance(base, ast.Name)))


def parameters(function):
    """Names of the parameters; None where any name may be given."""
    given = function.args
    names = {a.arg for a in [*given.posonlyargs, *given.args, *given.kwonlyargs]}
    names |= {a.arg for a in (given.vararg, given.kwarg) if a is not None}
    if given.kwarg is None or given.kwarg.annotation is None:
        return names
    kind = given.kwarg.annotation
    if isinstance(kind, ast.Subscript) and ast.unparse(kind.value) == "Unpack":
        return names | fields(ast.unparse(kind.slice))
    return None


def documented(docstring, part):
    """Names under a heading of a docstring."""
    if not docstring or f"{part}\n" not in docstring:
        return []
    kind = {"Parameters": "param", "Attributes": "attribute"}[part]
    params = parse(docstring, DocstringStyle.NUMPYDOC).params
    found = [param.arg_name for param in params if param.args[0] == kind]
    names = [name.strip().lstrip("*") for one in found for name in one.split(",")]
    return [name for name in names if name]


@pytest.mark.parametrize("path", TREES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_documented_parameters_are_the_real_ones(path):
    for owner, function in functions(TREES[path]):
        known = parameters(function)
        names = documented(ast.get_docstring(function), "Parameters")
        assert len(names) == len(set(names)), f"{owner} {function.name}: a parameter twice"
        if known is not None:
            strange = set(names) - known
            assert not strange, f"{owner} {function.name} has no parameter {strange}"


def set_on_self(node):
    """Attributes that methods of a class assign."""
    return {
        part.attr
        for part in ast.walk(node)
        if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store)
    }


def test_documented_attributes_are_the_real_ones():
    for name, node in CLASSES.items():
        names = set(documented(ast.get_docstring(node), "Attributes"))
        methods = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
        strange = names - fields(name) - methods - set_on_self(node)
        assert not strange, f"{name} has no {strange}"
