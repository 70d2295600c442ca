"""The command line: one file a verb."""

from __future__ import annotations

import os
import sys

import typer

from policyrank.errors import EvidenceError

app = typer.Typer(
    name="policyrank",
    help=(
        "Rank policies - models, agents, rerankers, controllers - and say how sure the ranking is."
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        from policyrank import __version__

        print(f"policyrank {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


def _commands() -> None:
    from policyrank.cli.answers import generate, score
    from policyrank.cli.attack import attack
    from policyrank.cli.audit import audit
    from policyrank.cli.compare import compare, methods
    from policyrank.cli.demo import demo
    from policyrank.cli.eval_detections import eval_detections
    from policyrank.cli.eval_run import eval_run
    from policyrank.cli.evaluate import evaluate
    from policyrank.cli.plan import plan
    from policyrank.cli.preferences import preferences
    from policyrank.cli.rank import rank
    from policyrank.cli.study import study
    from policyrank.cli.train import rerank, train
    from policyrank.cli.train_answers import preference  # noqa: F401 - its commands join train's
    from policyrank.cli.train_control import controller  # noqa: F401 - so does it
    from policyrank.cli.world import world

    for verb in (
        rank,
        compare,
        audit,
        plan,
        evaluate,
        preferences,
        attack,
        rerank,
        score,
        generate,
        methods,
        demo,
    ):
        app.command()(verb)
    app.command("eval-run")(eval_run)
    app.command("eval-detections")(eval_detections)
    app.add_typer(study, name="study")
    app.add_typer(train, name="train")
    app.add_typer(world, name="world")


EXTRAS = {
    "torch": "learn",
    "sentence_transformers": "retrieval",
    "bm25s": "retrieval",
    "transformers": "llm",
    "peft": "llm",
    "datasets": "llm",
    "accelerate": "llm",
    "stable_baselines3": "control",
    "gymnasium": "control",
    "qiskit": "quantum",
    "sklearn": "causal",
    "pycocotools": "detection",
    "ray": "ray",
    "pyspiel": "games",
    "pandas": "pandas",
    "pyarrow": "pandas",
}
"""Module -> the extra that brings it."""


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 the evidence cannot be used, 2 wrong usage, 130
    interrupted.
    """
    _commands()
    try:
        app()
    except EvidenceError as error:
        print(f"policyrank: {error}", file=sys.stderr)
        sys.exit(1)
    except ImportError as error:
        module = (error.name or "").split(".")[0]
        if module not in EXTRAS and "pip install" not in str(error):
            raise
        hint = (
            f"needs {module}: pip install 'policyrank[{EXTRAS[module]}]'"
            if module in EXTRAS
            else str(error)
        )
        print(f"policyrank: {hint}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)
        print(f"policyrank: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        sys.exit(1)
    except MemoryError:
        print(
            "policyrank: not enough memory. Count the comparisons first (a, b, wins, losses, ties),"
            " for example in SQL.",
            file=sys.stderr,
        )
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
