"""``policyrank evaluate``: run evaluations that a Python or TOML file describes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from cyclopts import Parameter

from policyrank.cli.options import (
    METHOD,
    OUT,
    AtLeastOne,
    Count,
    Flag,
    Html,
    Printed,
    Seed,
    Written,
    check_table,
    check_writable,
)
from policyrank.cli.output import print_board, say, working, write_board, write_table
from policyrank.errors import EvidenceError, OptionError

if TYPE_CHECKING:
    from policyrank.evaluation import Evaluation


class Spec(NamedTuple):
    """What a file of policies and tasks describes."""

    policies: dict[str, Any]
    tasks: Any
    play: Any


def evaluate_spec(
    spec: Path,
    /,
    *,
    sampler: Annotated[str, Parameter(group=METHOD)] = "uniform",
    budget: Annotated[AtLeastOne, Parameter(group=METHOD)] = 1000,
    stop: Annotated[str | None, Parameter(group=METHOD)] = None,
    delta: Annotated[float | None, Parameter(group=METHOD, show_default="0.05")] = None,
    workers: Annotated[Count | None, Parameter(group=METHOD)] = None,
    ray: Annotated[str | None, Parameter(group=METHOD)] = None,
    timeout: Annotated[float | None, Parameter(group=METHOD)] = None,
    retries: Annotated[Count, Parameter(group=METHOD)] = 1,
    independent: Annotated[Flag, Parameter(group=METHOD)] = False,
    seed: Annotated[Seed, Parameter(group=METHOD)] = 0,
    store: Annotated[str | None, Parameter(group=OUT)] = None,
    run: Annotated[str | None, Parameter(group=OUT, show_default="run")] = None,
    out: Annotated[Path | None, Parameter(group=OUT)] = None,
    log: Annotated[Path | None, Parameter(group=OUT, show_default="SPEC.log")] = None,
    html: Html = None,
    printed: Printed = Printed(),
) -> None:
    """Evaluate policies, choosing what to run next, and rank them.

    A Python file defines POLICIES (name -> callable(task, seed) that returns a score), TASKS
    (names, or name -> task) and, where policies play each other, PLAY(policy, opponent, task, seed)
    that returns the first one's outcome in [0, 1]. A TOML file has [policies] name =
    "module:callable", tasks = [...] or [tasks], and perhaps play = "module:callable".

    Parameters
    ----------
    spec
        Python file with POLICIES and TASKS (and perhaps PLAY), or TOML file that names them.
    sampler
        uniform, round-robin, ucb, proportional, rank-uncertainty, a-optimal, d-optimal, top-two,
        matchmaking, response-graph-ucb.
    budget
        Evaluations, failures included.
    stop
        best, order, or top:K: stop when it is known with probability 1 - delta.
    delta
        Chance that the stopping rule errs.
    workers
        Processes (one a core if not given; 0: this process).
    ray
        Address of a Ray cluster to evaluate on (auto: the one that runs on this machine).
    timeout
        Seconds an evaluation may take.
    retries
        How often a failed evaluation is tried again.
    independent
        A seed of its own for every policy, instead of common random numbers.
    store
        Path (SQLite) or SQLAlchemy URL; an interrupted run goes on from it.
    run
        Name of the run in the store.
    out
        Write the results (.csv, .parquet, .jsonl): what `policyrank rank` reads.
    log
        File for what policies print; made where they print something.
    """
    log = log or Path(spec.stem + ".log")
    check_table(out)
    check_writable(html, log)
    before = _changed_at(log)
    if timeout is not None and workers == 0 and ray is None:
        raise OptionError("--timeout: this process cannot stop itself. Give --workers 1 or more.")
    if delta is not None and stop is None:
        raise OptionError("--delta is of a stopping rule: give --stop, or leave it out.")
    if run is not None and store is None:
        raise OptionError("--run is the name of a run in a store: give --store, or leave it out.")
    given = _load(spec)
    rule = None if stop is None else _stopping_rule(stop, 0.05 if delta is None else delta)
    if ray is not None:
        _carry(spec.parent.resolve())
    from policyrank.evaluation import evaluate

    what = f"Evaluating {len(given.policies)} policies on {len(given.tasks)} tasks …"
    with working(what) as update:
        found = evaluate(
            given.policies,
            given.tasks,
            play=given.play,
            sampler=sampler,
            budget=budget,
            stop=rule,
            store=store,
            run=run or "run",
            workers=workers,
            ray=ray,
            timeout=timeout,
            retries=retries,
            common_random_numbers=not independent,
            seed=seed,
            log=log,
            depends={"spec": {"code": _code_hash(spec)}},
            report=lambda progress: update(str(progress)),
        )
    _tell(found)
    if _changed_at(log) != before:
        say(f"policyrank: what policies printed is in {log}")
    if found.evidence is not None and out is not None:
        write_table(found.evidence.to_frame(), out)
    if found.board is None:
        raise EvidenceError("too few evaluations worked to rank the policies.")
    title = f"Evaluation of {spec.name}"
    write_board(found.board, Written(html=html), title=title, evidence=found.evidence)
    print_board(found.board, printed)


def _changed_at(path: Path) -> int:
    """When a file was changed; 0: it is not there."""
    return path.stat().st_mtime_ns if path.exists() else 0


def _stopping_rule(stop: str, delta: float) -> Any:
    kind, _, places = stop.partition(":")
    if kind not in ("best", "order", "top") or (kind == "top") != places.isdigit():
        raise OptionError("stop is best, order or top:K")
    from policyrank.evaluation import best_known, order_known, top_k_known

    if kind == "top":
        return top_k_known(int(places), delta)
    return {"best": best_known, "order": order_known}[kind](delta)


def _tell(found: Evaluation) -> None:
    """What was run, what failed, and who was set aside."""
    say(f"policyrank: {len(found.results):,} evaluations; stopped because {found.reason}")
    failures: dict[str, list[Any]] = {}
    for result in found.failures:
        failures.setdefault(result.policy, []).append(result)
    for policy, failed in failures.items():
        say(f"policyrank: {policy} failed {len(failed):,} times, last: {failed[-1].error}")
    if found.set_aside:
        names = ", ".join(found.set_aside)
        say(f"policyrank: set aside after five failures and no success: {names}")


def _load(spec: Path) -> Spec:
    if not spec.is_file():
        raise EvidenceError(f"{spec}: no such file. Give a Python or TOML file.")
    sys.path.insert(0, str(spec.parent.resolve()))
    try:
        given = _from_toml(spec) if spec.suffix == ".toml" else _from_python(spec)
    except EvidenceError:
        raise
    except Exception as error:
        raise EvidenceError(f"{spec}: cannot be run ({type(error).__name__}: {error}).") from None
    if not given.policies or not isinstance(given.policies, dict):
        raise EvidenceError(
            f"{spec}: no policies. Define POLICIES = {{name: callable}} (in TOML: [policies] name ="
            ' "module:callable").'
        )
    if not given.tasks:
        raise EvidenceError(f"{spec}: no tasks. Define TASKS = [names] or {{name: task}}.")
    if given.play is None:
        for name, policy in given.policies.items():
            if not callable(policy):
                raise EvidenceError(
                    f"{spec}: {name!r} is no callable(task, seed). Make it one, or define PLAY."
                )
    return given


def _code_hash(spec: Path) -> str:
    """A hash of what a spec says, comments and layout aside; not of what it imports."""
    import ast

    from policyrank.fingerprints import hashed

    if spec.suffix == ".toml":
        import tomllib

        return hashed([tomllib.loads(spec.read_text(encoding="utf-8"))])
    return hashed([ast.unparse(ast.parse(spec.read_bytes()))])


def _from_python(spec: Path) -> Spec:
    import runpy

    found = runpy.run_path(str(spec), run_name="policyrank_spec")
    return Spec(found.get("POLICIES", {}), found.get("TASKS"), found.get("PLAY"))


def _from_toml(spec: Path) -> Spec:
    from policyrank.evidence.settings_files import read_settings, refuse_others, table_in

    data = read_settings(spec)
    refuse_others(data, ("policies", "tasks", "play"), str(spec))
    given = table_in(data.get("policies", {}), f"{spec}: policies")
    policies = {name: _named(spec, place) for name, place in given.items()}
    play = data.get("play")
    return Spec(policies, data.get("tasks"), _named(spec, play) if play else None)


def _named(spec: Path, place: object) -> Any:
    import importlib

    module, found, name = str(place).partition(":")
    if not found:
        raise EvidenceError(f'{spec}: {place!r}: write "module:callable".')
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise EvidenceError(f"{spec}: {place!r}: cannot be imported ({error}).") from None


def _carry(folder: Path) -> None:
    """Send modules that lie beside the spec to the cluster, which may not have them."""
    try:
        from ray import cloudpickle
    except ModuleNotFoundError:
        return  # the runner says what to install
    for module in list(sys.modules.values()):
        file = Path(getattr(module, "__file__", None) or "/")
        if file.parent == folder and "." not in module.__name__:
            cloudpickle.register_pickle_by_value(module)
