"""Mixed-integer programmes by HiGHS, in silence.

The HiGHS that scipy brings prints to standard output when it finds solutions, which spoils what is
piped.
"""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Solution:
    """Of a minimisation: the best point, its value, and a bound below which no value can lie.

    ``x`` is None when none was found in time, or there is none (the bound is infinite then).
    """

    x: Float | None
    value: float
    bound: float


def mixed_integer(
    cost: ArrayLike,
    rows: sparse.spmatrix,
    row_lower: ArrayLike,
    row_upper: ArrayLike,
    upper: ArrayLike,
    integer: ArrayLike,
    *,
    seconds: float = 60.0,
    gap: float = 1e-9,
) -> Solution:
    """Minimise cost @ x subject to row_lower <= rows @ x <= row_upper, 0 <= x <= upper.

    x is whole where ``integer``.

    Examples
    --------
    >>> rows = sparse.csr_matrix([[2.0, 1.0]])
    >>> found = mixed_integer([-3, -2], rows, [-np.inf], [2.5], [1, 1], [True, True])
    >>> found.x.tolist(), found.value
    ([1.0, 0.0], -3.0)
    """
    costs = np.asarray(cost, dtype=float)
    matrix = sparse.csc_matrix(rows)
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(costs), matrix.shape[0]
    lp.col_cost_, lp.col_lower_ = costs, np.zeros(len(costs))
    lp.col_upper_ = np.broadcast_to(np.asarray(upper, dtype=float), costs.shape).copy()
    lp.row_lower_ = np.asarray(row_lower, dtype=float)
    lp.row_upper_ = np.asarray(row_upper, dtype=float)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = matrix.indptr
    lp.a_matrix_.index_ = matrix.indices
    lp.a_matrix_.value_ = matrix.data
    kinds = highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger
    whole = np.broadcast_to(np.asarray(integer, dtype=bool), costs.shape)
    lp.integrality_ = [kinds[int(one)] for one in whole]
    solver = highspy.Highs()
    solver.silent()
    solver.setOptionValue("time_limit", float(seconds))
    solver.setOptionValue("mip_rel_gap", float(gap))
    solver.passModel(lp)
    solver.run()
    if solver.getModelStatus() == highspy.HighsModelStatus.kInfeasible:
        return Solution(None, np.inf, np.inf)
    info = solver.getInfo()
    if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        return Solution(None, np.inf, float(info.mip_dual_bound))
    return Solution(
        np.array(solver.getSolution().col_value),
        float(info.objective_function_value),
        float(info.mip_dual_bound),
    )
