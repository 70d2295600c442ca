"""A demand series: which column is meant."""

import pytest

from policyrank.errors import EvidenceError
from policyrank.evidence.series import read_series


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("period,demand\n1,183\n2,186\n3,190\n4,181\n5,170\n", "demand"),
        ("183\n186\n190\n181\n170\n", "column 1"),
        ("1,183\n2,186\n3,190\n4,181\n5,170\n", "column 2"),
        (
            "date,units,price\n2024-01-01,183,2.5\n2024-01-02,186,2.6\n2024-01-03,190,2.5\n"
            "2024-01-04,181,2.5\n2024-01-05,170,2.4\n",
            "units",
        ),
    ],
)
def test_the_demand_is_told_by_name_and_content(tmp_path, text, column):
    file = tmp_path / "series.csv"
    file.write_text(text)
    values, told = read_series(file)
    assert values == (183, 186, 190, 181, 170)
    assert told == f"series.csv: demand from column {column!r}, 5 periods"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n3,4\n5,9\n", "which column"),
        ("period,demand\n1,3\n2,\n3,4\n", "row 2"),
        ("period,demand\n1,3\n2,x\n3,4\n", "row 2: 'x'"),
        ("name\nx\ny\n", "none .name: text"),
    ],
)
def test_what_is_no_series_is_refused(tmp_path, text, message):
    file = tmp_path / "series.csv"
    file.write_text(text)
    with pytest.raises(EvidenceError, match=message):
        read_series(file)
