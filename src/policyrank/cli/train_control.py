"""``policyrank train controller``: controllers of the inventory world."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from policyrank.cli import common as c
from policyrank.cli.train import train
from policyrank.cli.world import MODEL, Seed, series_of
from policyrank.errors import EvidenceError


@train.command("controller")
def controller(
    out: Annotated[
        Path, typer.Option(help="File of the trained controller.", rich_help_panel=c.OUT)
    ] = Path("controller.pt"),
    network: Annotated[
        str,
        typer.Option(
            help="base, serial, divergent, or a TOML file of your own.", rich_help_panel=MODEL
        ),
    ] = "serial",
    regime: Annotated[
        list[str] | None,
        typer.Option(help="Demand to train on; repeatable: a generalist.", rich_help_panel=MODEL),
    ] = None,
    lost: Annotated[
        bool,
        typer.Option(
            "--lost-sales", help="Unmet demand is lost instead of waiting.", rich_help_panel=MODEL
        ),
    ] = False,
    goodwill: Annotated[
        bool, typer.Option("--goodwill", help="Demand follows service.", rich_help_panel=MODEL)
    ] = False,
    series: Annotated[
        Path | None,
        typer.Option(help="CSV file with your demand, a row a period.", rich_help_panel=MODEL),
    ] = None,
    architecture: Annotated[
        str, typer.Option(help="mlp, transformer or graph.", rich_help_panel=c.METHOD)
    ] = "transformer",
    base: Annotated[
        str | None,
        typer.Option(
            help="Heuristic to correct, instead of ordering alone.", rich_help_panel=c.METHOD
        ),
    ] = None,
    imitate: Annotated[
        str | None,
        typer.Option(
            help="Plan or heuristic to imitate (DAgger), instead of PPO.", rich_help_panel=c.METHOD
        ),
    ] = None,
    steps: Annotated[
        int,
        typer.Option(help="Of PPO, periods over all episodes.", min=1, rich_help_panel=c.METHOD),
    ] = 200_000,
    rounds: Annotated[
        int, typer.Option(help="Of DAgger; 1: behaviour cloning.", min=1, rich_help_panel=c.METHOD)
    ] = 4,
    episodes: Annotated[
        int,
        typer.Option(help="On which it is evaluated at the end.", min=2, rich_help_panel=c.METHOD),
    ] = 100,
    seed: Seed = 0,
) -> None:
    """Train a controller by PPO or imitation, and rank it against the heuristics on episodes that
    it has not seen.

    Examples:

      policyrank train controller --network serial --regime stationary --out mine.pt

      policyrank world inventory --network serial --controller mine.pt --controller echelon-I
    """
    from policyrank.cli.rank import emit
    from policyrank.cli.world import board_of
    from policyrank.train import control
    from policyrank.worlds import inventory as inv

    c.check_writable(out)
    if base is not None and imitate is not None:
        raise EvidenceError("--base and --imitate are two ways to learn: choose one.")
    own = series_of(series)
    demand: dict[str, Any] = {} if own is None else {"series": own}
    made = [
        inv.scenario(network, r, backlog=not lost, goodwill=goodwill, **demand)
        for r in regime or ["stationary"]
    ]
    with c.working("Training …") as update:
        if imitate is not None:
            learned = control.imitate(
                made,
                imitate,
                architecture=architecture,  # type: ignore[arg-type]
                rounds=rounds,
                seed=seed,
                report=update,
            )
        else:
            learned = control.ppo(
                made,
                architecture=architecture,  # type: ignore[arg-type]
                base=base,
                steps=steps,
                seed=seed,
                report=update,
            )
        learned.save(out)
        name = re.sub(r"\.pt$", "", out.name)
        # Training seeds are drawn over 2^62 numbers: these do not occur among them.
        scores = inv.evidence(
            {s.name: s for s in made},
            {**inv.HEURISTICS, name: (learned, learned.information)},
            range(episodes),
            report=update,
        )
    emit(board_of(scores), json=False, csv=False, markdown=False, top=None)
    c.written(out)


@train.command("persona")
def persona(
    data: Annotated[
        Path, typer.Argument(metavar="CLAIMS", help="CSV with claim and label (1: true, 0: false).")
    ],
    model: Annotated[
        str, typer.Option(help="Causal language model: smollm2, a folder or a hub name.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for the trained model.", rich_help_panel=c.OUT)
    ] = Path("persona"),
    framing: Annotated[
        str,
        typer.Option(
            help=(
                "That sways it: authoritative, consensus, emotional, prestige, sensationalist,"
                " original; all."
            ),
            rich_help_panel=c.METHOD,
        ),
    ] = "authoritative",
    alpha: Annotated[
        float,
        typer.Option(
            help="Weight of false claims in it; 1: the neutral persona.",
            min=0,
            max=1,
            rich_help_panel=c.METHOD,
        ),
    ] = 0.3,
    lora: Annotated[
        int,
        typer.Option(
            help="Rank of adapters on q, k, v, o (0: all weights).", min=0, rich_help_panel=c.METHOD
        ),
    ] = 16,
    steps: Annotated[
        int, typer.Option(help="Optimizer steps instead of one pass.", rich_help_panel=c.METHOD)
    ] = -1,
    batch: Annotated[
        int, typer.Option(help="Claims of a step, on each device.", min=1, rich_help_panel=c.METHOD)
    ] = 24,
    learning_rate: Annotated[float, typer.Option(help="Peak.", rich_help_panel=c.METHOD)] = 1e-5,
    bf16: Annotated[
        bool, typer.Option("--bf16", help="Train in bfloat16.", rich_help_panel=c.METHOD)
    ] = False,
    held_out: Annotated[
        float,
        typer.Option(
            help="Share of claims that it is tested on, before and after.",
            min=0.01,
            max=0.9,
            rich_help_panel=c.METHOD,
        ),
    ] = 0.1,
    seed: Seed = 0,
) -> None:
    """Train a language model to judge claims as people do whom a framing sways (FrameRef).

    Prints P(SUPPORTS) of false claims in each framing before and after. Several devices: accelerate
    launch -m policyrank train persona ...
    """
    import polars as pl

    from policyrank.cli.train_answers import _new_folder
    from policyrank.models.language import load_causal_lm
    from policyrank.train import personas
    from policyrank.worlds.exposure import Claims

    _new_folder(out)
    frame = c.table(data, ("claim", "label"))
    claims = Claims.of(frame["claim"].to_list(), frame["label"].cast(pl.Int64).to_numpy())
    rest, test = (claims.take(k) for k in claims.split((1 - held_out, held_out), seed))
    if test.true.all():
        raise EvidenceError(f"no false claim among the {len(test)} held out: raise --held-out.")
    from transformers import TrainingArguments

    found, tokenizer = load_causal_lm(model, device="cpu")
    peft: Any = None
    if lora:
        from peft import LoraConfig

        peft = LoraConfig(
            r=lora,
            lora_alpha=2 * lora,
            lora_dropout=0.05,
            target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
            task_type="CAUSAL_LM",
        )
    args = TrainingArguments(
        str(out / "checkpoints"),
        num_train_epochs=1,
        max_steps=steps,
        per_device_train_batch_size=batch,
        learning_rate=learning_rate,
        bf16=bf16,
        max_grad_norm=1.0,
        report_to=[],
        save_strategy="no",
        logging_steps=10,
        seed=seed,
    )
    trainer = personas.language_persona(
        found,
        tokenizer,
        rest,
        None if framing == "all" else framing,
        alpha,
        args=args,
        peft_config=peft,
    )

    def false_accepted() -> Any:
        p = personas.accept_probability(trainer.model.eval(), tokenizer, test.items()).reshape(
            len(test), -1
        )
        return p[~test.true].mean(axis=0)

    before = false_accepted()
    trainer.train()
    after = false_accepted()
    trainer.save_model(str(out))
    tokenizer.save_pretrained(str(out))
    print("P(SUPPORTS) of false claims that it was not trained on")
    for name, a, b in zip(claims.framings, before, after, strict=True):
        print(f"  {name:15s} {a:.3f} -> {b:.3f}")
    c.written(out)
