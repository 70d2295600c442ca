"""Files of settings that people write: TOML and YAML, read by one function."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from policyrank.errors import EvidenceError
from policyrank.evidence.sources import open_source


def read_settings(path: str | Path) -> dict[str, Any]:
    """The tables of a TOML file, or of a YAML file (.yaml, .yml), in which no name stands twice.

    Raises
    ------
    EvidenceError
        When it cannot be read, or holds anything but names and what they are set to.
    """
    place = Path(path)
    is_yaml = place.suffix.lower() in (".yaml", ".yml")
    kind = "YAML" if is_yaml else "TOML"
    text = open_source(place).text
    try:
        found = _of_yaml(text) if is_yaml else tomllib.loads(text)
    except RecursionError:
        raise EvidenceError(f"{place}: nested too deep to be settings. Mend it.") from None
    except Exception as error:  # yaml has errors of its own, and raises others' beside them
        raise EvidenceError(f"{place}: not a {kind} file ({error}).") from None
    if not isinstance(found, dict):
        raise EvidenceError(f"{place}: not a {kind} file of names and what they are set to.")
    return found


def refuse_others(given: Iterable[object], known: Iterable[str], what: str) -> None:
    """Refuse names that there are not.

    Raises
    ------
    EvidenceError
        Saying which there are.
    """
    allowed = list(known)
    strange = [name for name in given if name not in allowed]
    if strange:
        raise EvidenceError(f"{what} has {strange[0]!r}: it has {', '.join(allowed)}.")


def table_in(value: object, what: str) -> dict[str, Any]:
    """A table of settings, which nothing else can stand for.

    Raises
    ------
    EvidenceError
        When it is a number, a text or a list.
    """
    if not isinstance(value, dict):
        raise EvidenceError(f"{what} is no table of names and what they are set to.")
    return value


def _of_yaml(text: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """As it is, but a name that stands twice is an error."""

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
        names = [loader.construct_object(name, deep=True) for name, _ in node.value]
        for name in names:
            if not isinstance(name, str):
                raise ValueError(f"{name!r} is no name: write it in quotes")
            if names.count(name) > 1:
                raise ValueError(f"{name!r} stands twice")
        return dict(yaml.SafeLoader.construct_mapping(loader, node, deep=True))

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    return yaml.load(text, Loader)
