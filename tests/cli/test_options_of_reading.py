"""Each option that says how a file is read, by every verb that reads one."""

import sqlite3

import pytest

from policyrank.cli.options import Reading
from policyrank.errors import EvidenceError

PAIRS = """model_a,model_b,third,winner,second,when,judge,annotator,prompt,long
x,y,z,model_a,model_b,3,j,k,p,2
y,x,z,model_a,model_a,1,j,l,q,5
"""
LABELS = "model_a,model_b,label\nx,y,1\ny,x,0\n"
BAD = PAIRS + "x,x,z,model_a,model_a,1,j,j,p,2\n"
SCORES = """model,agent,task,game,score,points,metric,kind,seed,run,document
x,u,t,g,1,5,m,k,0,3,d
y,v,s,h,3,2,m,l,0,4,e
"""
BALLOTS = "ballot,voter,policy,rank\n1,a,x,1\n2,a,y,2\n1,b,y,1\n2,b,x,2\n"
ORDERS = "ranking,other\nx > y,y > x\n"
WIDE = "name,p,q,err\nm,1,2,3\nn,3,1,5\n"
GUESS = "model_a,model_b,winner\nx,y,1\ny,x,2\n"

READ = {
    "--kind": (BALLOTS, "--kind scores --score rank", "task", ["rank"] * 4),
    "--a": (PAIRS, "--a third --b model_b", "a", ["z", "z"]),
    "--b": (PAIRS, "--a model_a --b third", "b", ["z", "z"]),
    "--outcome": (PAIRS, "--outcome second", "outcome", [0, 1]),
    "--first-wins": (LABELS, "--first-wins 0", "outcome", [0, 1]),
    "--policy": (SCORES, "--policy agent", "policy", ["u", "v"]),
    "--task": (PAIRS, "--task annotator", "task", ["k", "l"]),
    "--score": (SCORES, "--score points", "score", [5, 2]),
    "--metric": (SCORES, "--metric kind", "metric", ["k", "l"]),
    "--replicate": (SCORES, "--replicate run", "replicate", ["3", "4"]),
    "--unit": (SCORES, "--unit document", "unit", ["d", "e"]),
    "--rater": (PAIRS, "--rater annotator", "rater", ["k", "l"]),
    "--time": (PAIRS, "--time long", "time", [2, 5]),
    "--ballot": (BALLOTS, "--ballot voter", "policy", ["x", "y", "y", "x"]),
    "--order": (ORDERS, "--order other", "policy", ["y", "x"]),
    "--covariate": (PAIRS, "--covariate long", "covariate.long", [2, 5]),
    "--rows": (WIDE, "--rows tasks", "policy", ["p", "q", "err"] * 2),
    "--tasks": (WIDE, "--tasks p --tasks q", "task", ["p", "q"] * 2),
    "--lower-is-better": (
        WIDE,
        "--lower-is-better *q*",
        "lower_is_better",
        [False, True, True] * 2,
    ),
    "--higher-is-better": (WIDE, "--higher-is-better err", "lower_is_better", None),
    "--only": (PAIRS.replace("y,x,z", "y,z,x"), "--only x --only y", "b", ["y"]),
    "--on": (PAIRS, "--on q", "a", ["y"]),
    "--skip-bad": (BAD, "--skip-bad", "a", ["x", "y"]),
}
"""Option -> a file, words, and what a column then holds, which it does not hold without."""

VERBS = ("rank", "compare", "read", "profile", "audit", "plan")
NOT_OF_PAIRS = ["--kind", "--policy", "--score", "--metric", "--replicate", "--unit", "--ballot"]
NOT_OF_PAIRS += ["--order", "--rows", "--tasks", "--lower-is-better", "--higher-is-better"]


@pytest.fixture
def read(command, tmp_path, monkeypatch):
    """What a verb reads of a text, and why it ended."""
    monkeypatch.chdir(tmp_path)
    evidence = Reading.evidence

    def call(verb, text, *words):
        found = []

        def seen(*args, **options):
            found.append(evidence(*args, **options))
            raise EvidenceError("seen")

        monkeypatch.setattr(Reading, "evidence", seen)
        (tmp_path / "file.csv").write_text(text)
        _, said = command(verb, *(["file.csv"] if text else []), *words)
        return (found[0].to_frame() if found else None), said.err

    return call


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("option", READ)
def test_columns_are_read_as_told(read, verb, option):
    text, words, column, values = READ[option]
    frame, said = read(verb, text, *words.split())
    if verb == "plan" and option in NOT_OF_PAIRS:
        assert frame is None
        assert option in said
    else:
        assert (frame[column].to_list() if column in frame.columns else None) == values, said
        frame, _ = read(verb, text)
        assert frame is None or column not in frame.columns or frame[column].to_list() != values


@pytest.mark.parametrize("verb", VERBS)
def test_guesses_are_refused_where_told(read, verb):
    assert read(verb, GUESS)[0]["outcome"].to_list() == [1, 0]
    frame, said = read(verb, GUESS, "--strict")
    assert frame is None
    assert "strict" in said


@pytest.mark.parametrize("verb", VERBS)
def test_a_database_is_read_in_place_of_files(read, verb, tmp_path):
    with sqlite3.connect(tmp_path / "r.db") as db:
        db.execute("create table battles (a text, b text, winner text)")
        db.executemany("insert into battles values (?, ?, ?)", [("x", "y", "x"), ("u", "v", "u")])
    words = ("--sql", f"sqlite:///{tmp_path}/r.db", "--query")
    assert read(verb, "", *words, "battles")[0]["a"].sort().to_list() == ["u", "x"]
    asked = "select * from battles where a = 'u'"
    assert read(verb, "", *words, asked)[0]["a"].to_list() == ["u"]
