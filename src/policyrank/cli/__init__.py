"""The command line: one file a verb; nothing is imported before its verb runs."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cyclopts import App, CycloptsError, Group, Parameter
from cyclopts.config import Dict

from policyrank._rooms import missing_extra
from policyrank.cli.verbs import FAMILIES, GROUPS, Verb
from policyrank.errors import EvidenceError, OptionError, PolicyrankError, one_line

ABOUT = "Rank policies - models, agents, rerankers, controllers - and say how sure the ranking is."
CONFIG = "--config FILE (TOML or YAML) gives the options of any verb; those typed here win."


def build(arguments: Sequence[str] = (), config: Path | None = None) -> App:
    """The command line, with the options of a configuration file where one is given.

    The verbs that ``arguments`` name show their whole docstring as help, the others one line.
    """
    from policyrank import __version__

    app = App(
        name="policyrank",
        help=ABOUT,
        help_epilogue=CONFIG,
        help_format="markdown",
        version=__version__,
        version_format="plaintext",
        default_parameter=Parameter(negative=()),
        config=_config(config),
    )
    families = {name: title for name, (title, _, _) in FAMILIES.items()}
    for order, (title, verbs) in enumerate(GROUPS.items()):
        group = Group(title, sort_key=order)
        _add(app, verbs, group, arguments)
        for name in families:
            if families[name] == title:
                _, about, members = FAMILIES[name]
                family = App(name=name, help=about, group=group)
                _add(family, members, Group("Verbs"), arguments)
                app.command(family)
    return app


def _add(app: App, verbs: dict[str, Verb], group: Group, arguments: Sequence[str]) -> None:
    for order, (name, verb) in enumerate(verbs.items()):
        place = f"policyrank.cli.{verb.place}"
        about = None if name in arguments else verb.about
        app.command(place, name=name, help=about, group=group, sort_key=order)


def _config(path: Path | None) -> Any:
    if path is None:
        return None
    if path.suffix not in (".toml", ".yaml", ".yml"):
        raise OptionError(f"--config {path}: write TOML (.toml) or YAML (.yaml).")
    from policyrank.evidence.settings_files import read_settings, refuse_others

    verbs = [name for own in GROUPS.values() for name in own]
    try:
        found = read_settings(path)
        refuse_others(found, [*verbs, *FAMILIES], str(path))
    except EvidenceError as error:
        raise OptionError(f"--config: {error}") from None
    return Dict(found, source=str(path))


def _take_config(arguments: list[str]) -> tuple[list[str], Path | None]:
    """The arguments without ``--config FILE``, and the file."""
    left, path = [], None
    words = iter(arguments)
    for word in words:
        name, sign, value = word.partition("=")
        if name != "--config":
            left.append(word)
            continue
        value = value if sign else next(words, "")
        if not value:
            raise OptionError("--config: name a file.")
        path = Path(value)
    return left, path


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 the evidence cannot be used, 2 wrong usage, 130
    interrupted.
    """
    _collect_seldom()
    try:
        _run()
    finally:
        options = sys.modules.get("policyrank.cli.options")
        if options is not None:
            options.end_imports()


def _run() -> None:
    try:
        arguments, config = _take_config(sys.argv[1:])
        _import_while_parsing(arguments)
        app = build(arguments, config)
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()  # a disk that is full is said, too
    except (CycloptsError, OptionError) as error:
        _say(" ".join(str(error).split()))
        sys.exit(2)
    except PolicyrankError as error:
        _say(str(error))
        sys.exit(1)
    except ImportError as error:
        told = missing_extra(error)
        if told is None and "pip install" not in str(error):
            raise
        _say(str(told or error))
        sys.exit(1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        _say(f"{error.filename or 'standard output'}: {error.strerror or error}")
        sys.exit(1)
    except MemoryError:
        _say(
            "not enough memory. Count the comparisons first (a, b, wins, losses, ties), for example"
            " in SQL."
        )
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


_READ_FILES = frozenset({"rank", "read", "compare", "audit", "plan"})


def _import_while_parsing(arguments: list[str]) -> None:
    """Begin to import what reading a file needs, where one is there to be read."""
    if not arguments or arguments[0] not in _READ_FILES:
        return
    if any(word == "-" or os.path.exists(word) for word in arguments[1:]):
        from policyrank.cli.options import import_ahead

        import_ahead(("numpy", "polars"))


def _collect_seldom() -> None:
    """Look for garbage less often: what imports make stays, to search it takes a tenth of a second.

    At the end nothing is searched at all.
    """
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)


def _say(text: str) -> None:
    print(f"policyrank: {one_line(text)}", file=sys.stderr)
