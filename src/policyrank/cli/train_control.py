"""``policyrank train controller`` and ``train persona``: policies of the worlds."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from policyrank.cli.options import (
    METHOD,
    MODEL,
    OUT,
    AtLeastOne,
    AtLeastTwo,
    Flag,
    Names,
    Printed,
    Seed,
    Share,
    check_folder,
    check_writable,
)
from policyrank.cli.output import print_board, show, working, wrote
from policyrank.cli.train_answers import load_model
from policyrank.cli.training_run import (
    last_checkpoint,
    model_dependencies,
    named_base,
    upload,
)
from policyrank.cli.tuning import PersonaLora, PersonaTuning, made
from policyrank.cli.world import board_of
from policyrank.cli.world_inventory import series_of
from policyrank.errors import EvidenceError, OptionError
from policyrank.files import written_folder
from policyrank.models.provenance import CHECKPOINTS, LOG


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
    steps: Annotated[AtLeastOne | None, Parameter(group=METHOD, show_default="200000")] = None,
    rounds: Annotated[AtLeastOne | None, Parameter(group=METHOD, show_default="4")] = None,
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
    if steps is not None and imitate is not None:
        raise OptionError("--steps are of PPO: with --imitate give --rounds.")
    if rounds is not None and imitate is None:
        raise OptionError("--rounds are of imitation: give --imitate, or --steps of PPO.")
    own = series_of(series)
    from policyrank.evidence.base import named_once
    from policyrank.train.control import inventory as control
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
            learned = control.imitate(scenarios, imitate, rounds=rounds or 4, **common)
        else:
            learned = control.ppo(scenarios, base=base, steps=steps or 200_000, **common)
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
    held_out: Annotated[float, Parameter(group=METHOD, validator=Number(gte=0.01, lte=0.9))] = 0.1,
    lora: PersonaLora = PersonaLora(),
    tuning: PersonaTuning = PersonaTuning(),
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
    held_out
        Share of claims that it is tested on, before and after.
    """
    check_folder(out)

    from policyrank.models.quiet import no_bars
    from policyrank.train import personas
    from policyrank.train.saving import add_about, refuse_overwriting, weight_files
    from policyrank.worlds.exposure import Claims, read_claims

    refuse_overwriting(out, {"--model": model})
    tuning.check()
    frame = read_claims(claims)
    known = Claims.of(frame["claim"].to_list(), frame["label"].to_numpy())
    rest, test = (known.take(part) for part in known.split((1 - held_out, held_out), tuning.seed))
    if test.true.all():
        raise EvidenceError(f"no false claim among the {len(test)} held out: raise --held-out.")
    from transformers import TrainingArguments

    from policyrank.fingerprints import known_versions
    from policyrank.models.provenance import About
    from policyrank.models.quiet import quietly
    from policyrank.train.adapters import is_adapted
    from policyrank.train.answer_progress import Progress
    from policyrank.train.preparing import without_dropout

    found, tokenizer = load_model(model, tuning, lora)
    if not tuning.dropout:
        without_dropout(found)
    args = made(TrainingArguments, str(out / CHECKPOINTS), **tuning.settings())
    trainer = personas.language_persona(
        found,
        tokenizer,
        rest,
        None if framing == "all" else framing,
        alpha,
        args=args,
        weights=tuning.weights,
        peft_config=lora.config(found, layers=tuning.layers),
    )

    def false_accepted() -> Any:
        model = trainer.model.eval()
        accept = personas.accept_probability(model, tokenizer, test.items())
        return accept.reshape(len(test), -1)[~test.true].mean(axis=0)

    trainer.depends |= model_dependencies(model, lora, tuning)
    last = last_checkpoint(trainer)
    before = false_accepted() if last is None else None
    if last is None:
        (out / LOG).unlink(missing_ok=True)
    with working("Training ...") as update, no_bars():
        trainer.add_callback(Progress(update, out))
        trainer.train(resume_from_checkpoint=last)
    after = false_accepted()
    first = trainer.is_world_process_zero()
    adapter = is_adapted(trainer.model)
    known_as = About(
        "policy",
        base=named_base(model, adapter=adapter),
        adapter=adapter,
        max_length=256,
        objective="attenuated likelihood",
        options={"framing": framing, "alpha": alpha},
        data={"claims": claims.name},
        settings=tuning.kept(),
        versions=known_versions(),
    )
    with written_folder(out, weight_files(out), first=first) as part, quietly():
        trainer.save_model(str(part))
        if first:
            add_about(part, out, tokenizer, known_as)
    rmtree(out / CHECKPOINTS, ignore_errors=True)
    show("P(SUPPORTS) of false claims that it was not trained on")
    for place, name in enumerate(known.framings):
        was = "" if before is None else f"{before[place]:.3f} -> "
        show(f"  {name:15s} {was}{after[place]:.3f}")
    wrote(out)
    upload(out, tuning)
