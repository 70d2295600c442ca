from .catalogue import (
    STUDIES as STUDIES,
)
from .frame import (
    Claim as Claim,
    Scale as Scale,
    Study as Study,
    Verdict as Verdict,
    judge as judge,
    run_study as run_study,
)
from .pages import (
    page as page,
    table as table,
)

__all__ = [
    "STUDIES",
    "Claim",
    "Scale",
    "Study",
    "Verdict",
    "judge",
    "page",
    "run_study",
    "table",
]
