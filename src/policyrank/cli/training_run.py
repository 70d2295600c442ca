"""One run of a trainer from the command line: gone on with, saved, and told."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any

from policyrank.cli.output import say, show, working, wrote
from policyrank.files import written_folder
from policyrank.models.provenance import LOG

if TYPE_CHECKING:
    from policyrank.cli.tuning import Lora, Tuning
    from policyrank.models.provenance import About


def named_base(name: str, *, adapter: bool) -> str:
    """What a trained model is made from, so that it is found again."""
    from policyrank.models.loading import adapter_config, base_of

    if adapter and adapter_config(name) is not None:
        name = base_of(name)
    return str(Path(name).resolve()) if Path(name).exists() else name


def about_trained(
    trainer: Any, name: str, data: Path, tuning: Tuning, settings: dict[str, Any], **more: Any
) -> About:
    """What a model is that learned from its own outputs, and what its training assumed."""
    from policyrank.fingerprints import known_versions
    from policyrank.models.provenance import About
    from policyrank.train.adapters import is_adapted

    args, prompts, adapter = trainer.args, trainer.train_dataset, is_adapted(trainer.model)
    told: dict[str, Any] = {"kind": "policy", "chat": args.chat} | more
    return About(
        **told,
        base=named_base(name, adapter=adapter),
        adapter=adapter,
        max_length=args.max_length,
        objective=args.objective,
        options=args.objective_options,
        dtype=str(next(trainer.model.parameters()).dtype).removeprefix("torch."),
        data={"name": data.name, "prompts": len(prompts), "fingerprint": prompts.fingerprint()},
        settings=tuning.kept() | settings,
        versions=known_versions(),
    )


def compared(args: Any) -> dict[str, Any]:
    """How outputs of groups were compared."""
    found: dict[str, Any] = {"advantage": args.advantage}
    if args.advantage_options:
        found["advantage_options"] = args.advantage_options
    for name in ("passes", "steps_per_round", "keep_agreeing", "mask_cut"):
        found[name] = getattr(args, name)
    return found


def reference_model(name: str | None, tuning: Tuning, tokenizer: Any) -> Any:
    """The model that KL is to, where one is named; ``tokenizer``: the policy's.

    Raises
    ------
    OptionError
        For a model of other tokens.
    """
    if name is None:
        return None
    from policyrank.models.language import load_causal_lm
    from policyrank.models.tokens import refuse_other_tokens

    model, theirs = load_causal_lm(name, device="cpu", dtype=tuning.dtype)
    refuse_other_tokens(tokenizer, theirs, f"--reference {name}")
    return model


def run_dependencies(
    about: About, model: str, lora: Lora, tuning: Tuning, *, reference: str | None = None
) -> dict[str, dict[str, Any]]:
    """What a run depends on beside what its trainer knows: names, files, options typed."""
    found = model_dependencies(model, lora, tuning)
    found["options"] |= {"chat": about.chat, "separator": about.separator}
    if reference is not None:
        found["reference"] = _files_of(reference)
    return found


def model_dependencies(model: str, lora: Lora, tuning: Tuning) -> dict[str, dict[str, Any]]:
    """What a model is made from, and which part of it is trained."""
    options = {
        "layers": tuning.layers,
        "lora": vars(lora),
        "dtype": tuning.dtype,
        "dropout": tuning.dropout,
    }
    return {"options": options, "base": _files_of(model)}


def _files_of(model: str) -> dict[str, Any]:
    from policyrank.train.saving import weights_fingerprint

    return {"name": named_base(model, adapter=False), "files": weights_fingerprint(model)}


def run_training(
    trainer: Any,
    out: Path,
    about: About,
    depends: dict[str, dict[str, Any]],
    tuning: Tuning,
    evaluation: Path | None,
) -> None:
    """Train from the last checkpoint if there is one, save, and print what evaluation says."""
    from policyrank.models.quiet import no_bars, quietly
    from policyrank.train.answer_progress import Progress
    from policyrank.train.saving import add_about, weight_files

    folder = Path(trainer.args.output_dir)
    first = trainer.is_world_process_zero()
    if first:
        for note in trainer.notes:
            say(f"! {note}")
    trainer.depends |= depends
    last = last_checkpoint(trainer)
    if first and last is None:
        (out / LOG).unlink(missing_ok=True)
    evaluated = evaluation is not None
    with working("Training ...") as update, no_bars():
        trainer.add_callback(Progress(update, out))
        before = trainer.evaluate() if evaluated and last is None else {}
        trainer.train(resume_from_checkpoint=last)
        after = trainer.evaluate() if evaluated else {}
    shown = _metrics(after)
    with written_folder(out, weight_files(out), first=first) as part, quietly():
        trainer.save_model(str(part))
        if first:
            add_about(part, out, trainer.processing_class, about, shown)
    if first:
        rmtree(folder, ignore_errors=True)
        _print_loss(trainer)
        for name, value in shown.items():
            was = before.get(f"eval_{name}")
            show(f"{name}: {value:.4g}" if was is None else f"{name}: {was:.4g} -> {value:.4g}")
        wrote(out)
        upload(out, tuning)


def last_checkpoint(trainer: Any) -> str | None:
    """The newest whole checkpoint of the same run, and what is said of it; None: it begins."""
    found = trainer.last_checkpoint()
    trainer.accelerator.wait_for_everyone()
    if trainer.is_world_process_zero():
        for remark in found.remarks:
            say(f"! {remark}")
        found.set_aside()
        if found.last is not None:
            say(f"going on from {found.last}")
    return None if found.last is None else str(found.last)


def tell_failures(trainer: Any) -> None:
    """Say how many rewards failed."""
    reward = trainer.groups.reward
    if reward.failed:
        say(f"! the reward of {reward.failed:,} groups failed, the first by {reward.error}")


def upload(out: Path, tuning: Tuning) -> None:
    """Push the folder where that was asked for.

    Raises
    ------
    EvidenceError
        When it cannot be uploaded.
    """
    if tuning.push:
        from policyrank.train.saving import push

        say(f"pushed to {push(out, tuning.push)}")


def _print_loss(trainer: Any) -> None:
    """The first and the last loss that were logged."""
    losses = [record["loss"] for record in trainer.state.log_history if "loss" in record]
    if len(losses) > 1:
        show(f"training loss: {losses[0]:.4g} -> {losses[-1]:.4g}")
    elif losses:
        show(f"training loss: {losses[0]:.4g}")


def _metrics(found: dict[str, float]) -> dict[str, float]:
    """What evaluation says of the model, not of the machine."""
    kept = {}
    for name, value in found.items():
        if name.startswith("eval_") and not name.endswith(("runtime", "second", "time")):
            kept[name.removeprefix("eval_")] = value
    return kept
