"""How a trained ranker of texts is read, for verbs that use one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from policyrank.cli.options import Whole
from policyrank.errors import OptionError

RANKER = Group("The ranker", sort_key=6)


@Parameter(name="*", group=RANKER)
@dataclass(frozen=True)
class ReadAs:
    """How a ranker of texts is read.

    Parameters
    ----------
    kind
        cross-encoder or bi-encoder, for models of others.
    max_length
        Tokens that are read (as the ranker was trained if not given).
    dtype
        Of the weights: float32, bfloat16, float16 (as the ranker was trained if not given).
    """

    kind: str | None = None
    max_length: Annotated[Whole | None, Parameter(validator=Number(gte=4))] = None
    dtype: str | None = None

    def told(self) -> dict[str, Any]:
        """As ``load_text_ranker`` takes them."""
        return asdict(self)

    def refuse(self, why: str, *, but: tuple[str, ...] = ()) -> None:
        """Nothing of it may be given, where no ranker of texts is read here.

        Raises
        ------
        OptionError
            Naming the option, and why.
        """
        for name, value in self.told().items():
            if value is not None and name not in but:
                raise OptionError(f"--{name.replace('_', '-')} is of {why}: leave it out.")
