"""Which masked positions to unmask next: a small network on the hidden states of a model."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from policyrank.errors import EvidenceError, OptionError
from policyrank.evidence.json_schema import in_shape, read_json
from policyrank.files import write_json

NAME = "unmasking_policy"
"""Where it lies in a model, whose weights it is saved and loaded with."""
FILE = "unmasking_policy.json"
"""Its sizes, beside the weights."""
FREQUENCIES = 256


@dataclass(frozen=True)
class PolicySizes:
    """Sizes of an ``UnmaskingPolicy``.

    Attributes
    ----------
    width
        of the model's hidden states, and of the policy's own
    heads, layers
        of attention; layers of the transformer
    """

    width: int
    heads: int
    layers: int = 1


class _Modulated(nn.Module):
    """Layer norm whose scale and shift come from a condition: (..., width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-4, elementwise_affine=False)
        self.modulation = nn.Linear(width, 2 * width)
        nn.init.xavier_uniform_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, values: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.modulation(condition).chunk(2, dim=-1)
        return self.norm(values) * (1 + scale) + shift


class UnmaskingPolicy(nn.Module):
    """Scores of positions, from which those that are unmasked are drawn by Plackett-Luce.

    Layer norm, transformer layers with attention in both directions, layer norm, a linear map; both
    norms are modulated by the step, and by whether a position is masked and in the current block.
    The last map begins near 0, so that the order begins nearly at random.

    References
    ----------
    Huang et al. (2025), "Reinforcing the Diffusion Chain of Lateral Thought with Diffusion Language
    Models", arXiv 2505.10446: the unmasking policy module. There the layer is one of LLaDA's own,
    with rotary positions; here it is a plain one, which has positions from the hidden states.

    Examples
    --------
    >>> policy = UnmaskingPolicy(PolicySizes(width=8, heads=2))
    >>> masked = torch.tensor([[True, True, False]])
    >>> policy(torch.zeros(1, 3, 8), torch.tensor([0.5]), masked, masked).shape
    torch.Size([1, 3])
    """

    def __init__(self, sizes: PolicySizes) -> None:
        super().__init__()
        if sizes.width % sizes.heads:
            raise OptionError(f"heads={sizes.heads}: the width {sizes.width} is not divided.")
        self.sizes = sizes
        width = sizes.width
        self.of_time = nn.Sequential(
            nn.Linear(FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.of_mask, self.of_block = nn.Embedding(2, width), nn.Embedding(2, width)
        self.before, self.after = _Modulated(width), _Modulated(width)
        layers = []
        for _ in range(sizes.layers):
            layer = nn.TransformerEncoderLayer(
                width, sizes.heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
            )
            layers.append(layer)
        self.layers = nn.ModuleList(layers)
        self.score = nn.Linear(width, 1)
        for embedding in (self.of_mask, self.of_block):
            nn.init.trunc_normal_(embedding.weight, std=0.02)
        nn.init.normal_(self.score.weight, std=0.02)
        nn.init.zeros_(self.score.bias)

    def forward(self, hidden: Tensor, time: Tensor, masked: Tensor, block: Tensor) -> Tensor:
        """Scores of positions: (rows, positions), float32.

        Parameters
        ----------
        hidden
            (rows, positions, width), of the model's last layer
        time
            (rows,), the share of steps that are done, in [0, 1)
        masked, block
            (rows, positions), what is masked, and what is in the current block
        """
        own = self.score.weight.dtype
        condition = self.of_time(_waves(time).to(own))[:, None]
        condition = condition + self.of_mask(masked.long()) + self.of_block(block.long())
        found = self.before(hidden.to(own), condition)
        for layer in self.layers:
            found = layer(found)
        return self.score(self.after(found, condition)).squeeze(-1).float()


def _waves(time: Tensor) -> Tensor:
    """Cosines and sines of times at so many frequencies: (rows, FREQUENCIES)."""
    half = FREQUENCIES // 2
    place = torch.arange(half, device=time.device, dtype=torch.float32)
    angles = time[:, None].float() * torch.exp(-math.log(10_000) * place / half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def policy_of(model: Any) -> UnmaskingPolicy | None:
    """The unmasking policy that a model has; None: it has none."""
    found = getattr(model, NAME, None)
    return found if isinstance(found, UnmaskingPolicy) else None


def add_policy(
    model: Any, *, seed: int = 0, heads: int | None = None, layers: int = 1
) -> UnmaskingPolicy:
    """Give a model an unmasking policy, drawn anew, as a part of itself.

    Parameters
    ----------
    model
        of transformers
    seed
        of its first weights
    heads
        of attention; None: as the model has

    Raises
    ------
    OptionError
        When it has one, or its width is not known.
    """
    if policy_of(model) is not None:
        raise OptionError("the model has an unmasking policy: train that one.")
    sizes = PolicySizes(*_width_and_heads(model.config, heads), layers)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy = UnmaskingPolicy(sizes)
    weights = next(model.parameters())
    model.add_module(NAME, policy.to(weights.device, weights.dtype))
    return policy


def _width_and_heads(config: Any, heads: int | None) -> tuple[int, int]:
    """As a configuration of transformers has them, or LLaDA's own."""
    width = getattr(config, "hidden_size", None) or getattr(config, "d_model", None)
    known = getattr(config, "num_attention_heads", None) or getattr(config, "n_heads", None)
    if not width or not (heads or known):
        raise OptionError(
            "the model's configuration has no hidden_size and num_attention_heads (or d_model and"
            " n_heads): its width is not known."
        )
    return int(width), int(heads or known or 1)


def write_sizes(folder: str | Path, policy: UnmaskingPolicy) -> None:
    """Write what is needed to load a policy whose weights lie among its model's."""
    write_json(Path(folder, FILE), asdict(policy.sizes), indent=1)


def load_policy(model: Any, folder: str | Path) -> UnmaskingPolicy | None:
    """Give a model the unmasking policy that was saved with it; None: it has none.

    Raises
    ------
    EvidenceError
        When its file cannot be read, or weights are missing.
    """
    path = Path(folder, FILE)
    if not path.is_file():
        return None
    sizes = in_shape(read_json(path, dict[str, Any]), PolicySizes, str(path))
    policy = UnmaskingPolicy(sizes)
    found = _weights_in(Path(folder))
    try:
        policy.load_state_dict(found)
    except RuntimeError as error:
        why = " ".join(str(error).split())[:200]
        raise EvidenceError(f"{folder}: weights do not fit {FILE} ({why}).") from None
    weights = next(model.parameters())
    model.add_module(NAME, policy.to(weights.device, weights.dtype))
    return policy


def _weights_in(folder: Path) -> dict[str, Tensor]:
    from safetensors import safe_open

    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as kept:
            names = kept.keys()
            for name in names:
                if name.startswith(f"{NAME}."):
                    found[name.removeprefix(f"{NAME}.")] = kept.get_tensor(name)
    return found
