"""``policyrank train controller`` and ``train persona``: policies of the worlds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from policyrank.cli.options import (
    METHOD,
    MODEL,
    OUT,
    AtLeastOne,
    AtLeastTwo,
    Count,
    Flag,
    Names,
    Printed,
    Seed,
    Share,
    check_folder,
    check_writable,
)
from policyrank.cli.output import print_board, table_of, working, wrote
from policyrank.cli.world import board_of
from policyrank.cli.world_inventory import series_of
from policyrank.errors import EvidenceError


def train_controller(
    *,
    out: Annotated[Path, Parameter(group=OUT)] = Path("controller.pt"),
    network: Annotated[str, Parameter(group=MODEL)] = "serial",
    regime: Annotated[Names, Parameter(group=MODEL)] = None,
    lost_sales: Annotated[Flag, Parameter(group=MODEL)] = False,
    goodwill: Annotated[Flag, Parameter(group=MODEL)] = False,
    series: Annotated[Path | None, Parameter(group=MODEL)] = None,
    architecture: Annotated[
        Literal["mlp", "transformer", "graph"], Parameter(group=METHOD)
    ] = "transformer",
    base: Annotated[str | None, Parameter(group=METHOD)] = None,
    imitate: Annotated[str | None, Parameter(group=METHOD)] = None,
    steps: Annotated[AtLeastOne, Parameter(group=METHOD)] = 200_000,
    rounds: Annotated[AtLeastOne, Parameter(group=METHOD)] = 4,
    episodes: Annotated[AtLeastTwo, Parameter(group=METHOD)] = 100,
    seed: Annotated[Seed, Parameter(group=MODEL)] = 0,
) -> None:
    """Train an inventory controller, and rank it.

    By PPO or imitation; ranked against the heuristics on episodes that it has not seen.

    Examples:

      policyrank train controller --network serial --regime stationary --out mine.pt

      policyrank world inventory --network serial --controller mine.pt --controller echelon-I

    Parameters
    ----------
    out
        File of the trained controller.
    network
        base, serial, divergent, or a TOML file of your own.
    regime
        Demand to train on; repeatable: a generalist.
    lost_sales
        Unmet demand is lost instead of waiting.
    goodwill
        Demand follows service.
    series
        CSV file with your demand, a row a period.
    architecture
        Of the policy.
    base
        Heuristic to correct, instead of ordering alone.
    imitate
        Plan or heuristic to imitate (DAgger), instead of PPO.
    steps
        Of PPO, periods over all episodes.
    rounds
        Of DAgger; 1: behaviour cloning.
    episodes
        On which it is evaluated at the end.
    """
    check_writable(out)
    if base is not None and imitate is not None:
        raise EvidenceError("--base and --imitate are two ways to learn: choose one.")
    own = series_of(series)
    from policyrank.evidence.base import named_once
    from policyrank.train import control
    from policyrank.worlds import inventory as inv

    demand: dict[str, Any] = {"backlog": not lost_sales, "goodwill": goodwill}
    if own is not None:
        demand["series"] = own
    scenarios = [inv.scenario(network, name, **demand) for name in regime or ["stationary"]]
    named = named_once(((scenario.name, scenario) for scenario in scenarios), "scenario")
    name = out.name.removesuffix(".pt")
    if name in inv.HEURISTICS:
        raise EvidenceError(
            f"--out {out}: {name} is a heuristic. Give the controller another name."
        )
    with working("Training …") as update:
        common: dict[str, Any] = {"architecture": architecture, "seed": seed, "report": update}
        if imitate is not None:
            learned = control.imitate(scenarios, imitate, rounds=rounds, **common)
        else:
            learned = control.ppo(scenarios, base=base, steps=steps, **common)
        learned.save(out)
        # Training seeds are drawn over 2^62 numbers: these do not occur among them.
        controllers = {**inv.HEURISTICS, name: (learned, learned.information)}
        scores = inv.evidence(named, controllers, range(episodes), report=update)
    print_board(board_of(scores), Printed())
    wrote(out)


def train_persona(
    claims: Path,
    /,
    *,
    model: str,
    out: Annotated[Path, Parameter(group=OUT)] = Path("persona"),
    framing: Annotated[str, Parameter(group=METHOD)] = "authoritative",
    alpha: Annotated[Share, Parameter(group=METHOD)] = 0.3,
    lora: Annotated[Count, Parameter(group=METHOD)] = 16,
    steps: Annotated[int, Parameter(group=METHOD)] = -1,
    batch: Annotated[AtLeastOne, Parameter(group=METHOD)] = 24,
    learning_rate: Annotated[float, Parameter(group=METHOD)] = 1e-5,
    bf16: Annotated[Flag, Parameter(group=METHOD)] = False,
    held_out: Annotated[float, Parameter(group=METHOD, validator=Number(gte=0.01, lte=0.9))] = 0.1,
    seed: Annotated[Seed, Parameter(group=METHOD)] = 0,
) -> None:
    """Train a judge of claims whom a framing sways.

    A language model that judges claims as people do (FrameRef). Prints P(SUPPORTS) of false claims
    in each framing before and after. Several devices: accelerate launch -m policyrank train persona
    ...

    Parameters
    ----------
    claims
        CSV with claim and label (1: true, 0: false).
    model
        Causal language model: smollm2, a folder or a hub name.
    out
        Folder for the trained model.
    framing
        That sways it: authoritative, consensus, emotional, prestige, sensationalist, original; all.
    alpha
        Weight of false claims in it; 1: the neutral persona.
    lora
        Rank of adapters on q, k, v, o (0: all weights).
    steps
        Optimizer steps instead of one pass.
    batch
        Claims of a step, on each device.
    learning_rate
        Peak.
    bf16
        Train in bfloat16.
    held_out
        Share of claims that it is tested on, before and after.
    """
    check_folder(out)
    import polars as pl

    from policyrank.models.language import load_causal_lm
    from policyrank.train import personas
    from policyrank.worlds.exposure import Claims

    frame = table_of(claims, ("claim", "label"))
    known = Claims.of(frame["claim"].to_list(), frame["label"].cast(pl.Int64).to_numpy())
    rest, test = (known.take(part) for part in known.split((1 - held_out, held_out), seed))
    if test.true.all():
        raise EvidenceError(f"no false claim among the {len(test)} held out: raise --held-out.")
    from transformers import TrainingArguments

    found, tokenizer = load_causal_lm(model, device="cpu")
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
        peft_config=_adapters(lora),
    )

    def false_accepted() -> Any:
        model = trainer.model.eval()
        accept = personas.accept_probability(model, tokenizer, test.items())
        return accept.reshape(len(test), -1)[~test.true].mean(axis=0)

    before = false_accepted()
    trainer.train()
    after = false_accepted()
    trainer.save_model(str(out))
    tokenizer.save_pretrained(str(out))
    print("P(SUPPORTS) of false claims that it was not trained on")
    for name, first, last in zip(known.framings, before, after, strict=True):
        print(f"  {name:15s} {first:.3f} -> {last:.3f}")
    wrote(out)


def _adapters(rank: int) -> Any:
    if not rank:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.05,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
        task_type="CAUSAL_LM",
    )
