"""Experiment trackers."""

import pytest

from policyrank.errors import EvidenceError

HEADER = ",inputs.q,outputs.a,error,feedback.correctness,feedback.concise,example_id,id\n"


def test_langsmith_experiments_are_policies(folder, values, noted):
    folder.write("ant-1a2b3c4d.csv", f"{HEADER}0,q,a,,1.0,True,e1,r1\n1,q,a,,0.0,False,e2,r2\n")
    folder.write("bee-1a2b3c4d.csv", f"{HEADER}0,q,a,,0.5,True,e1,r3\n1,q,,Timeout(),,,e2,r4\n")
    scores = folder.read()
    assert values(scores) == {"ant": {"e1": 1, "e2": 0}, "bee": {"e1": 0.5}}
    assert "bee on e2" in noted(scores, "without feedback")
    assert "concise" in noted(scores, "there is also")
    assert values(folder.read(metric="feedback.concise"))["ant"] == {"e1": 1, "e2": 0}
    with pytest.raises(EvidenceError, match="strict"):
        folder.read(strict=True)


def test_repetitions_of_an_example_are_averaged(folder, values):
    for name in ("ant", "bee"):
        folder.write(f"{name}.csv", f"{HEADER}0,q,a,,1.0,,e1,r1\n1,q,a,,0.0,,e1,r2\n")
    assert values(folder.read())["ant"] == {"e1": 0.5}


CHART = """"Step","ant - s1 - eval/acc","ant - s1 - eval/acc__MIN","ant - s1 - eval/acc__MAX",\
"bee - eval/acc","bee - eval/acc__MIN","bee - eval/acc__MAX"
"0","0.9","0.1","0.1","0.2","0.2","0.2"
"200","0.7","0.7","0.7","0.6","0.6","0.6"
"100","0.5","0.5","0.5","","",""
"""


def test_a_chart_gives_the_last_value_of_each_run(folder, values, noted):
    folder.write("wandb.csv", CHART)
    scores = folder.read("wandb.csv")
    assert values(scores) == {"ant - s1": {"eval/acc": 0.7}, "bee": {"eval/acc": 0.6}}
    assert noted(scores, "the last value of each run at step 200, not the best")
    folder.write("wandb.csv", CHART + '"300","0.8","","","","",""\n')
    assert noted(folder.read("wandb.csv"), "end at different steps")


def test_a_chart_that_ends_in_nan_is_refused_or_counted(folder, noted):
    text = CHART.replace("eval/acc", "eval/loss") + '"300","NaN","","","","",""\n'
    folder.write("wandb.csv", text.replace("bee - eval/loss", "cat - eval/loss"))
    with pytest.raises(EvidenceError, match="no finite score"):
        folder.read("wandb.csv")


RUNS = """Start Time,Duration,Run ID,Name,Source Type,Source Name,User,Status,model,seed,acc
2021-12-08 00:32:32,233ms,r1,a,LOCAL,train.py,user,FINISHED,ant,0,0.91
2021-12-08 00:22:03,4.2s,r2,b,LOCAL,train.py,user,FINISHED,bee,0,0.88
2021-12-08 00:12:03,1.1min,r3,c,LOCAL,train.py,user,FAILED,bee,1,
2021-12-07 23:12:03,250ms,r4,d,LOCAL,train.py,user,FINISHED,ant,1,0.89
"""


def test_runs_of_mlflow_need_a_metric(folder, values, noted):
    folder.write("runs.csv", RUNS)
    with pytest.raises(EvidenceError, match="columns with numbers: seed, acc"):
        folder.read("runs.csv")
    scores = folder.read("runs.csv", metric="acc")
    assert values(scores) == {"ant": {"acc": 0.9}, "bee": {"acc": 0.88}}
    assert noted(scores, "1 run left out, status FAILED: r3")
    folder.write("runs.csv", RUNS.replace("model", "learner"))
    with pytest.raises(EvidenceError, match="column of the policies"):
        folder.read("runs.csv", metric="acc")


def test_langfuse_names_no_model(folder):
    header = '"id","traceId","name","dataType","value","stringValue"\n'
    folder.write("scores.csv", header + '"s1","t1","correctness","NUMERIC","0.8",""\n')
    with pytest.raises(EvidenceError, match="Langfuse, and no column names the model"):
        folder.read("scores.csv")
