from .catalogue import (
    STUDIES as STUDIES,
)
from .claims import (
    Claim as Claim,
    Unit as Unit,
    Verdict as Verdict,
    judge as judge,
)
from .fairness import (
    Health as Health,
    Tuned as Tuned,
    tune as tune,
)
from .frame import (
    MASTER_SEEDS as MASTER_SEEDS,
    Measured as Measured,
    Scale as Scale,
    Study as Study,
    boards as boards,
    run_study as run_study,
)
from .kept import (
    kept_study as kept_study,
)
from .pages import (
    page as page,
    table as table,
)
from .pictures import (
    main_comparison as main_comparison,
)

__all__ = [
    "MASTER_SEEDS",
    "STUDIES",
    "Claim",
    "Health",
    "Measured",
    "Scale",
    "Study",
    "Tuned",
    "Unit",
    "Verdict",
    "boards",
    "judge",
    "kept_study",
    "main_comparison",
    "page",
    "run_study",
    "table",
    "tune",
]
