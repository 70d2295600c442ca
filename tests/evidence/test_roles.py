"""What columns are taken for, in tables of scores as people have them."""

import numpy as np
import pytest

from policyrank.errors import EvidenceError
from policyrank.evidence import Scores, read


def table(text: str) -> str:
    return "\n".join(line.strip() for line in text.split(" / ")) + "\n"


def scores(text: str, **options) -> Scores:
    found = read(table(text).encode(), **options)
    assert isinstance(found, Scores)
    return found


@pytest.mark.parametrize(
    ("text", "tasks", "lower"),
    [
        ("model,task,wer / ant,t1,16 / bee,t1,17 / ant,t2,25 / bee,t2,14", "t1 t2", "t1 t2"),
        ("solver,instance,time / ant,t1,16 / bee,t1,17 / ant,t2,2 / bee,t2,4", "t1 t2", "t1 t2"),
        (
            "model,AMI,Ears,Avg WER / ant,11,9,10 / bee,10,8,9 / cat,25,15,20",
            "AMI Ears",
            "AMI Ears",
        ),
        ("metric,ant,bee / RMSE,1.1,1.5 / MAE,.8,1.0 / R2,.9,.8", "MAE R2 RMSE", "MAE RMSE"),
        ("rank,team,score / 1,ant,0.12 / 2,bee,0.15 / 3,cat,0.20", "score", "score"),
        ("rank,team,score / 1,ant,0.32 / 2,bee,0.15 / 3,cat,0.10", "score", ""),
        (
            "model,LPIPS↓,err,test_err / a,.1,.2,.3 / b,.2,.3,.4",
            "LPIPS↓ err test_err",
            "LPIPS↓ err test_err",
        ),
        ("judge,ant,bee,cat / J1,1,2,3 / J2,1,3,2 / J3,2,1,3", "J1 J2 J3", "J1 J2 J3"),
        ("model,language,cer / ant,de,16 / bee,de,17 / ant,fr,25 / bee,fr,14", "de fr", "de fr"),
        ("thing,dataset,score / a,d1,.5 / b,d1,.6 / a,d2,.5 / b,d2,.7", "d1 d2", ""),
    ],
)
def test_directions_where_the_name_of_the_task_does_not_say(text, tasks, lower):
    found = scores(text)
    assert found.columns == tuple(sorted(tasks.split()))
    assert found.lower_is_better == frozenset(lower.split())


@pytest.mark.parametrize(
    ("text", "tasks"),
    [
        (
            "model,acc,acc_se,acc_q25,acc_q75,acc_median,acc_min,acc_max"
            " / ant,.6,.01,.5,.7,.6,.1,.9 / bee,.7,.02,.6,.8,.71,.2,.95",
            "acc",
        ),
        (
            "model,acc,f1,q10,q90,2.5%,97.5%,ci95,LCL,UCL / ant,.6,.5,.5,.7,.4,.8,.1,.4,.8"
            " / bee,.7,.6,.6,.8,.5,.9,.1,.4,.9",
            "acc f1",
        ),
        (
            "model,acc,f1,Context,Vocab,lr,k,GP,Citations,Input $/M,Ticket,unix,Open source"
            " / ant,.5,.6,8192,32000,.001,5,30,100,.5,4711,1700000000,TRUE"
            " / bee,.6,.7,4096,50000,.0003,3,30,22,.7,4712,1700000400,FALSE",
            "acc f1",
        ),
        ("Pos,Team,P,W,D,L,GF,GA,GD,Pts / 1,Red,3,2,1,0,5,1,4,7 / 2,Blue,3,1,1,1,3,3,0,4", "Pts"),
        (
            "model,score_test,stack_level,can_infer,fit_order / L,.84,1,True,1 / M,.85,2,True,2",
            "score_test",
        ),
        ("model,commit,acc / a,a1b2c3,.5 / b,00112233,.6 / c,9e10,.4", "acc"),
        (
            "Model,Global Average,A Average,B Average,C Average"
            " / ant,60,70,50,60 / bee,58,60,60,54",
            "A Average|B Average|C Average",
        ),
        ("model,t1,t2,t3,GeoMean,Median / ant,2,8,4,4,4 / bee,1,27,1,3,1", "t1 t2 t3"),
        ("model,seed_0,seed_1,seed_2 / ant,.5,.6,.5 / bee,.6,.7,.8", "score"),
        ("question_id,correct_answer,difficulty,ant,bee / 1,3,1,.3,.2 / 2,1,2,.1,.1", "1 2"),
        ("task,ant,bee,p-value / t1,.5,.6,.01 / t2,.5,.7,.02", "t1 t2"),
        ("task,t1,t2 / model,, / ant,.6,.5 / bee,.7,.4", "t1 t2"),
        (
            "model,dataset,acc,f1 / ant,d,.5,.6 / bee,d,.6,.7 / ant,e,.5,.6 / bee,e,.6,.7",
            "d (acc)|d (f1)|e (acc)|e (f1)",
        ),
        ("Modell;t1;t2 / ant;60;50 / bee;62;48 / Mittelwert;61;49 / Std;1;1", "t1 t2"),
        ("Dataset,ant,bee / d1,60,50 / d2,62,48 / Avg. rank,1,2 / #wins,2,0", "d1 d2"),
        (
            "Name,State,lr,seed,acc / ant,finished,.1,1,.8 / x,crashed,.1,1,.9"
            " / bee,finished,.1,1,.7",
            "acc",
        ),
        ("sep=; / model;t1;t2 / ant;,5;,6 / bee;,6;,7", "t1 t2"),
        ("# made today / # by hand / model,t1 / ant,.5 / bee,.6", "t1"),
        ("Results of today / model,t1 / ant,.5 / bee,.6", "t1"),
        ('"t1" "t2" / "ant" 0.6 0.5 / "bee" 0.7 0.4', None),
    ],
)
def test_what_is_a_score_and_what_is_not(text, tasks):
    options = {"rows": "policies"} if tasks is None else {}
    found = scores(text, **options)
    wanted = (tasks or "t1 t2").split("|" if "|" in (tasks or "") else None)
    assert found.columns == tuple(wanted)
    assert set(map(str.lower, found.policies)) <= {
        "ant",
        "bee",
        "red",
        "blue",
        "l",
        "m",
        "a",
        "b",
        "c",
    }


def test_intervals_are_those_of_the_score():
    board = scores(
        "Model,Arena Score,95% CI,Votes,Knowledge Cutoff"
        " / ant,1300,+5/-4,10000,2023/10 / bee,1250,+3/-3,20000,2024/1"
    )
    assert board.interval.tolist() == [[1296, 1305], [1247, 1253]]
    assert "Knowledge Cutoff: a date" in board.notes[0]
    ninety = scores("model,mean,p5,p95 / ant,.6,.5,.7 / bee,.7,.6,.8")
    assert ninety.columns == ("mean",)
    assert ninety.stderr == pytest.approx([0.1 / 1.6448536] * 2)
    plus = scores("model,elo,±95% / ant,1300,±5 / bee,1250,±3", tasks=None)
    assert plus.columns == ("elo",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ant,.5,.6 / bee,.4,.7 / cat,.3,.2", "header holds numbers"),
        ("ant,bee,1 / bee,cat,0 / cat,ant,1 / ant,dog,1", "header holds numbers"),
        ("policy,success,episodes / ant,18,20 / bee,30,60", "success counts out of episodes"),
        ("model,task,correct,total / a,t,90,100 / b,t,150,200", "correct counts out of total"),
        ("agent,opponent,episode,reward / ant,bee,1,1 / ant,bee,2,-1", "who won"),
        ("Modell;Punkte / ant;1.234 / bee;987 / cat;1.100", "a thousand or a decimal"),
        ("model,t1,t2 / ant,.9,.8 / bee,.5,.4,.3", "line 3 has 4 fields, and the header 3"),
    ],
)
def test_what_could_be_read_wrongly_is_refused(text, message):
    with pytest.raises(EvidenceError, match=message):
        read(table(text).encode())


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (("18/20", "7/10"), (0.9, 0.7)),
        (("60.5 (1.2)", "61 (1.0)"), (60.5, 61)),
        (("93.5†", "90.1*"), (93.5, 90.1)),
        (("✓", "✗"), (1, 0)),
        (("1,500", "2,250"), (1.5, 2.25)),
        (("0.80 [0.75, 0.85]", "0.7 [0.6, 0.8]"), (0.8, 0.7)),
    ],
)
def test_cells_as_people_write_them(cells, values):
    found = scores(f"model;go / ant;{cells[0]} / bee;{cells[1]}")
    assert np.allclose(found.table()[0], values)


@pytest.mark.parametrize(
    "text",
    [
        '{"model":{"0":"ant","1":"bee"},"mmlu":{"0":0.6,"1":0.7}}',
        '{"columns":["model","mmlu"],"index":[0,1],"data":[["ant",0.6],["bee",0.7]]}',
        '{"model":["ant","bee"],"mmlu":[0.6,0.7]}',
        '{"ant":{"mmlu":0.6},"bee":{"mmlu":0.7}}',
        '{"results":[{"model":"ant","mmlu":0.6},{"model":"bee","mmlu":0.7}]}',
        '[["model","mmlu"],["ant",0.6],["bee",0.7]]',
        '{"model":"ant","mmlu":0.6}\n{"model":"bee","mmlu":0.7}\n',
    ],
)
def test_json_in_every_orientation(text):
    found = read(text.encode())
    assert found.policies == ("ant", "bee")
    assert found.columns == ("mmlu",)
    assert found.table().tolist() == [[0.6, 0.7]]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("winner,loser,draw / ant,bee,0 / ant,cat,1", [("ant", "bee", 1), ("ant", "cat", 0.5)]),
        (
            "Winner/tie,,Loser/tie,PtsW,PtsL / A,,B,34,20 / C,@,D,23,23",
            [("A", "B", 1), ("C", "D", 0.5)],
        ),
        (
            "Heim;Gast;Tore Heim;Tore Gast / Rot;Blau;2;1 / Blau;Grün;0;0",
            [("Rot", "Blau", 1), ("Blau", "Grün", 0.5)],
        ),
        ("model_0,model_1,winner / ant,bee,0 / bee,cat,1", [("ant", "bee", 1), ("bee", "cat", 0)]),
        (
            "id,winner,white_id,black_id / T,white,ant,bee / U,black,bee,cat",
            [("ant", "bee", 1), ("bee", "cat", 0)],
        ),
        ("policy,opponent,win / a,b,True / b,a,False", [("a", "b", 1), ("b", "a", 0)]),
    ],
)
def test_who_won(text, rows):
    found = read(table(text).encode())
    names = found.policies
    got = zip(found.a, found.b, found.outcome.tolist(), strict=True)
    assert [(names[a], names[b], y) for a, b, y in got] == rows


def test_counted_winners_and_shares():
    counted = read(table("winner,loser,n / ant,bee,7 / bee,ant,3").encode())
    assert counted.count.tolist() == [7, 3]
    shares = read(table("model_a,model_b,win_rate,battles / a,b,70%,10").encode())
    assert list(zip(shares.outcome.tolist(), shares.count.tolist(), strict=True)) == [
        (1, 7),
        (0, 3),
    ]
    wdl = read(table("engine1,engine2,W,D,L / a,b,5,3,2").encode())
    assert wdl.total == 10
    twice = table("model_a,model_b,winner_model_a,winner_model_b,winner_tie / ant,bee,1,1,0")
    with pytest.raises(EvidenceError, match="row 1"):
        read(twice.encode())


def test_columns_that_comparisons_do_not_use_are_named():
    found = read(table("model_a,model_b,winner,mood / x,y,model_a,3").encode())
    assert "1 column not used (mood)" in found.notes[0]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "text",
    [
        "model,mmlu,gsm8k,no,votes,Average,acc_se / ant,.8,.7,1,9,.75,.1 / bee,.7,.6,2,8,.65,.1"
        " / cat,.5,.4,3,7,.45,.1 / dog,.5,.9,4,7,.7,.2 / eel,.1,.2,5,3,.15,.1",
        "rank,team,score / 1,ant,.1 / 2,bee,.2 / 2,cat,.2 / 4,dog,.4",
        "model,task,wer,seed / a,t,1,1 / b,t,2,1 / a,u,3,1 / b,u,4,1 / a,t,5,2 / b,t,6,2",
        "question_id,ant,bee,correct / 1,.1,.2,3 / 2,.3,.3,1 / 3,.2,.5,2",
        "model,Elo,lower,upper / ant,1200,1190,1215 / bee,1100,1080,1110 / cat,1150,1140,1160",
    ],
)
def test_rows_and_columns_in_any_order_are_the_same_table(text, seed):
    rng = np.random.default_rng(seed)
    header, *rows = [line.split(",") for line in text.split(" / ")]
    columns, order = rng.permutation(len(header)), rng.permutation(len(rows))
    lines = [",".join(header[k] for k in columns)]
    lines += [",".join(rows[i][k] for k in columns) for i in order]
    before, after = scores(text), scores(" / ".join(lines))
    assert after.policies == before.policies
    assert after.columns == before.columns
    assert np.array_equal(after.table(), before.table(), equal_nan=True)
    if before.published() is not None:
        for one, other in zip(before.published(), after.published(), strict=True):
            assert np.array_equal(one, other, equal_nan=True)
