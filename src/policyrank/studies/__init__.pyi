from .catalogue import (
    STUDIES as STUDIES,
)
from .frame import (
    Claim as Claim,
)
from .frame import (
    Scale as Scale,
)
from .frame import (
    Study as Study,
)
from .frame import (
    Verdict as Verdict,
)
from .frame import (
    judge as judge,
)
from .frame import (
    run_study as run_study,
)
from .pages import (
    page as page,
)
from .pages import (
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
