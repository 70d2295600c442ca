"""What was replayed and asked again, counted."""

from __future__ import annotations

from dataclasses import dataclass

from policyrank.train.replay_config import Replay


@dataclass
class ReplayCounts:
    """What was replayed and asked again so far.

    Attributes
    ----------
    groups, failed, solved
        of original prompts; those whose outputs all failed, and all succeeded
    replayed, outputs, missing
        groups that got outputs of earlier rounds, these, and groups for which none was kept
    age, oldest
        rounds since these were sampled: their sum, and the most
    reflections, answered, refused
        prompts that were asked again, those with a success then, and those without room or text
    """

    groups: int = 0
    failed: int = 0
    solved: int = 0
    replayed: int = 0
    outputs: int = 0
    missing: int = 0
    age: int = 0
    oldest: int = 0
    reflections: int = 0
    answered: int = 0
    refused: int = 0

    def merge(self, other: ReplayCounts) -> None:
        """Add those of another process or round."""
        for name, value in vars(other).items():
            own = getattr(self, name)
            setattr(self, name, max(own, value) if name == "oldest" else own + value)

    def told(self, how: Replay) -> tuple[str, ...]:
        """Lines for who trains."""
        lines = []
        if how.most:
            ages = ""
            if self.outputs:
                mean = self.age / self.outputs
                ages = f", {mean:.1f} rounds old on average and {self.oldest} at most"
            lines.append(
                f"of {self.groups:,} groups {self.failed:,} failed and {self.solved:,} succeeded"
                f" throughout: {self.replayed:,} got {self.outputs:,} outputs of earlier"
                f" rounds{ages}; for {self.missing:,} none was kept"
            )
        if how.hard is not None:
            lines.append(
                f"{self.reflections:,} prompts were asked again with a failed answer,"
                f" {self.answered:,} of them with a success; {self.refused:,} more had no room or"
                " were no plain text"
            )
        return tuple(lines)
