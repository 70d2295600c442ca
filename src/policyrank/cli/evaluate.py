"""``policyrank evaluate``: run evaluations that a Python or TOML file describes."""

from __future__ import annotations

import importlib
import runpy
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from policyrank.cli import common as c
from policyrank.errors import EvidenceError


def evaluate(
    spec: Annotated[
        Path,
        typer.Argument(
            metavar="SPEC",
            help=(
                "Python file with POLICIES and TASKS (and perhaps PLAY), or TOML file that names"
                " them."
            ),
        ),
    ],
    sampler: Annotated[
        str,
        typer.Option(
            help=(
                "uniform, round-robin, ucb, proportional, rank-uncertainty, a-optimal, d-optimal,"
                " top-two, matchmaking, response-graph-ucb."
            ),
            rich_help_panel=c.METHOD,
        ),
    ] = "uniform",
    budget: Annotated[
        int, typer.Option(help="Evaluations, failures included.", min=1, rich_help_panel=c.METHOD)
    ] = 1000,
    stop: Annotated[
        str | None,
        typer.Option(
            help="best, order, or top:K: stop when it is known with probability 1 - delta.",
            rich_help_panel=c.METHOD,
        ),
    ] = None,
    delta: Annotated[
        float, typer.Option(help="Chance that the stopping rule errs.", rich_help_panel=c.METHOD)
    ] = 0.05,
    store: Annotated[
        str | None,
        typer.Option(
            help="Path (SQLite) or SQLAlchemy URL; an interrupted run goes on from it.",
            rich_help_panel=c.OUT,
        ),
    ] = None,
    run: Annotated[
        str, typer.Option(help="Name of the run in the store.", rich_help_panel=c.OUT)
    ] = "run",
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes (one a core if not given; 0: this process).",
            min=0,
            rich_help_panel=c.METHOD,
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Evaluate on this Ray cluster (auto: the one that runs on this machine).",
            rich_help_panel=c.METHOD,
        ),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds an evaluation may take.", rich_help_panel=c.METHOD)
    ] = None,
    retries: Annotated[
        int,
        typer.Option(
            help="How often a failed evaluation is tried again.", min=0, rich_help_panel=c.METHOD
        ),
    ] = 1,
    independent: Annotated[
        bool,
        typer.Option(
            "--independent",
            help="A seed of its own for every policy, instead of common random numbers.",
            rich_help_panel=c.METHOD,
        ),
    ] = False,
    seed: Annotated[
        int, typer.Option(help="Seed of everything that is drawn.", rich_help_panel=c.METHOD)
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the results (.csv, .parquet, .jsonl): what `policyrank rank` reads.",
            rich_help_panel=c.OUT,
        ),
    ] = None,
    html: c.Html = None,
    json: c.Json = False,
    top: c.Top = None,
) -> None:
    """Evaluate the policies of SPEC, choosing what to run next, and rank them.

    A Python file defines POLICIES (name -> callable(task, seed) that returns a score), TASKS
    (names, or name -> task) and, where policies play each other, PLAY(policy, opponent, task, seed)
    that returns the first one's outcome in [0, 1]. A TOML file has [policies] name =
    "module:callable", tasks = [...] or [tasks], and perhaps play = "module:callable".
    """
    from policyrank.cli.rank import emit
    from policyrank.evaluation import best_known, evaluate as go, order_known, top_k_known

    c.check_writable(out, html)
    policies, tasks, play = _load(spec)
    if ray is not None:
        _carry(spec.parent.resolve())
    rule = None
    if stop is not None:
        kind, _, k = stop.partition(":")
        if kind not in ("best", "order", "top") or (kind == "top") != k.isdigit():
            raise typer.BadParameter("stop is best, order or top:K")
        rule = (
            {"best": best_known, "order": order_known}[kind](delta)
            if kind != "top"
            else top_k_known(int(k), delta)
        )
    with c.working(f"Evaluating {len(policies)} policies on {len(tasks)} tasks …") as update:
        found = go(
            policies,
            tasks,
            play=play,
            sampler=sampler,
            budget=budget,
            stop=rule,
            store=store,
            run=run,
            workers=workers,
            ray=ray,
            timeout=timeout,
            retries=retries,
            common_random_numbers=not independent,
            seed=seed,
            report=lambda p: update(str(p)),
        )
    c.say(f"policyrank: {len(found.results):,} evaluations; stopped because {found.reason}")
    for policy in {r.policy for r in found.failures}:
        of = [r for r in found.failures if r.policy == policy]
        c.say(f"policyrank: {policy} failed {len(of):,} times, last: {of[-1].error}")
    if found.set_aside:
        c.say(
            "policyrank: set aside after five failures and no success:"
            f" {', '.join(found.set_aside)}"
        )
    if found.evidence is not None and out is not None:
        found.evidence.write(out)
        c.written(out)
    if found.board is None:
        raise EvidenceError("too few evaluations worked to rank the policies.")
    if html is not None:
        found.board.to_html(html, evidence=found.evidence, title=f"Evaluation of {spec.name}")
        c.written(html)
    emit(found.board, json=json, csv=False, markdown=False, top=top)


def _load(spec: Path) -> tuple[dict[str, Any], Any, Any]:
    if not spec.is_file():
        raise EvidenceError(f"{spec}: no such file. Give a Python or TOML file.")
    sys.path.insert(0, str(spec.parent.resolve()))
    try:
        if spec.suffix == ".toml":
            data = tomllib.loads(spec.read_text(encoding="utf-8"))
            policies = {name: _named(where) for name, where in (data.get("policies") or {}).items()}
            tasks, play = data.get("tasks"), data.get("play")
            play = _named(play) if play else None
        else:
            found = runpy.run_path(str(spec), run_name="policyrank_spec")
            policies, tasks, play = found.get("POLICIES", {}), found.get("TASKS"), found.get("PLAY")
    except tomllib.TOMLDecodeError as error:
        raise EvidenceError(f"{spec}: not a TOML file ({error}).") from None
    except EvidenceError:
        raise
    except Exception as error:
        raise EvidenceError(f"{spec}: cannot be run ({type(error).__name__}: {error}).") from None
    if not policies or not isinstance(policies, dict):
        raise EvidenceError(
            f"{spec}: no policies. Define POLICIES = {{name: callable}} (in TOML: [policies] name ="
            ' "module:callable").'
        )
    if not tasks:
        raise EvidenceError(f"{spec}: no tasks. Define TASKS = [names] or {{name: task}}.")
    if play is None and (bad := [n for n, p in policies.items() if not callable(p)]):
        raise EvidenceError(
            f"{spec}: {bad[0]!r} is no callable(task, seed). Make it one, or define PLAY."
        )
    return policies, tasks, play


def _carry(folder: Path) -> None:
    """Send modules that lie beside the spec to the cluster, which may not have them."""
    try:
        from ray import cloudpickle
    except ModuleNotFoundError:
        return  # the runner says what to install
    for module in list(sys.modules.values()):
        if (
            Path(getattr(module, "__file__", None) or "/").parent == folder
            and "." not in module.__name__
        ):
            cloudpickle.register_pickle_by_value(module)


def _named(where: str) -> Any:
    module, found, name = str(where).partition(":")
    if not found:
        raise EvidenceError(f'{where!r}: write "module:callable".')
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise EvidenceError(f"{where!r}: cannot be imported ({error}).") from None
