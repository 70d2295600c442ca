"""Adapters of peft, where they are asked for."""

from __future__ import annotations

from typing import Any

from policyrank._rooms import require


def adapted(model: Any, peft_config: Any) -> Any:
    """The model with the adapters of a ``peft`` config; None: the model as it is.

    Raises
    ------
    MissingExtraError
        When peft is missing.
    """
    if peft_config is None:
        return model
    require("peft", "peft_config")
    from peft import get_peft_model

    return get_peft_model(model, peft_config)
