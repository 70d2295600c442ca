"""What a folder that ``train`` wrote holds, and what training assumed: its policyrank.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from policyrank.errors import EvidenceError
from policyrank.evidence.json_schema import in_shape, read_json
from policyrank.files import write_json
from policyrank.fingerprints import known_versions

FILE, LOG = "policyrank.json", "log.jsonl"
"""What lies beside a trained model: what it is, and how training went."""
CHECKPOINTS = "checkpoints"
"""Where checkpoints lie in it while it is trained."""
CRITIC = "critic"
"""Where the critic of PPO lies in it."""

Kind = Literal[
    "policy", "masked-diffusion", "reward", "discriminator", "cross-encoder", "bi-encoder"
]
ARTICLES: dict[str, str] = {
    "policy": "a language model",
    "masked-diffusion": "a masked diffusion language model",
    "reward": "a reward model",
    "discriminator": "a policy discriminator, which reads a reference answer first",
    "cross-encoder": "a cross-encoder that ranks texts",
    "bi-encoder": "a bi-encoder that ranks texts",
}


@dataclass(frozen=True)
class About:
    """What a trained model is, and what its training assumed.

    Attributes
    ----------
    kind
        what it is used as
    base
        the model that it was made from, as it was named
    adapter
        whether the folder holds adapters, to be read beside the base
    chat
        whether texts were read through the chat template; None: where the tokenizer had one
    max_length
        tokens of prompt and answer
    separator
        between the reference answer and the prompt, of a discriminator
    objective, options
        the loss and its options
    dtype
        of the weights in training
    data
        the training data: its name, lists, and a fingerprint of their tokens and labels
    settings
        further options of training
    versions
        of packages
    """

    kind: Kind
    base: str | None = None
    adapter: bool = False
    chat: bool | None = None
    max_length: int | None = None
    separator: str | None = None
    objective: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    dtype: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def write(self, folder: str | Path) -> None:
        """Write it into a model's folder, with the versions of packages."""
        content = asdict(self) | {"versions": known_versions()}
        write_json(Path(folder, FILE), content, indent=1)


def about(name: str | Path) -> About | None:
    """What a folder says of itself; None where it was not written by policyrank.

    Raises
    ------
    EvidenceError
        When the file cannot be read, or names a kind that there is not.
    """
    path = Path(name) / FILE
    if not path.is_file():
        return None
    try:
        found = read_json(path, dict[str, Any])
    except EvidenceError as error:
        raise EvidenceError(f"{error} It is not what policyrank writes.") from None
    kind = found.get("kind")
    if not isinstance(kind, str) or kind not in ARTICLES:
        raise EvidenceError(f"{path}: kind {kind!r} is none of {', '.join(ARTICLES)}.")
    return in_shape(found, About, str(path))


def expect(name: str, kinds: Sequence[Kind]) -> About | None:
    """What a model is, refused where it says that it is something else.

    Raises
    ------
    EvidenceError
        For a model of another kind.
    """
    found = about(name)
    if found is not None and found.kind not in kinds:
        raise EvidenceError(f"{name} is {ARTICLES[found.kind]}; here {ARTICLES[kinds[0]]} is read.")
    return found
