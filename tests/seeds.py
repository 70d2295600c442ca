"""Small valid inputs, one of each kind that is read."""

import io
import json
import zipfile
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Seed:
    """A valid input.

    Attributes
    ----------
    name
        what it is
    files
        path -> content; the first is the one that is damaged
    reader
        what reads it: ``read``, or one of the readers of answers, detections, texts and TREC
    rows
        how many results it holds, each used when nothing is damaged; 0: its reader refuses it
    metric
        the metric to ask for, where the format needs one
    """

    name: str
    files: dict[str, bytes]
    reader: str = "read"
    rows: int = 0
    metric: str | None = None

    @property
    def first(self) -> str:
        """Path of the file that is damaged."""
        return next(iter(self.files))


def _bytes(content):
    if isinstance(content, bytes):
        return content
    return (content if isinstance(content, str) else json.dumps(content)).encode()


def _lines(values):
    return "".join(json.dumps(value) + "\n" for value in values)


def _seed(name, files, reader="read", rows=0, metric=None):
    content = {path: _bytes(value) for path, value in files.items()}
    return Seed(name, content, reader, rows, metric)


@cache
def all_seeds():
    """Every seed: tables, formats of tools, games and ballots, and what has its own reader."""
    made = [*tables(), *_harnesses(), *_judges(), *_tools(), *_learning(), *_boards(), *_others()]
    return tuple(made)


COMPARISONS = """model_a,model_b,winner,judge,task
ant,bee,model_a,u1,go
bee,cat,model_b,u2,go
cat,ant,tie,u1,chess
bee,ant,model_b,u2,chess
"""
LONG = """model,task,score,seed
ant,go,0.81,1
bee,go,0.72,1
ant,chess,0.63,1
bee,chess,0.54,1
"""
WIDE = """model,mmlu,gsm8k,arc
ant,0.81,0.31,0.52
bee,0.72,0.42,0.63
cat,0.63,0.53,0.74
"""
ENTRIES = """ballot,policy,rank
1,ant,1
1,bee,2
2,bee,1
2,ant,2
2,cat,3
"""
COUNTS = """model_a,model_b,wins,losses,ties
ant,bee,3,1,0
bee,cat,2,2,1
"""
MATRIX = """name,ant,bee,cat
ant,,2,3
bee,1,,2
cat,1,1,
"""
ORDERS = "ranking,weight\nant > bee = cat,3\nbee > ant > cat,2\n"


def tables():
    """Plain tables as text."""
    return [
        _seed("comparisons", {"battles.csv": COMPARISONS}, rows=4),
        _seed("scores, long", {"long.csv": LONG}, rows=4),
        _seed("scores, wide", {"wide.csv": WIDE}, rows=9),
        _seed("ballots, long", {"entries.csv": ENTRIES}, rows=5),
        _seed("counts", {"counts.csv": COUNTS}, rows=9),
        _seed("matrix of wins", {"matrix.csv": MATRIX}, rows=10),
        _seed("orders", {"orders.csv": ORDERS}, rows=2),
    ]


def _lm_eval(model, value):
    about = {"alias": "arc", "acc,none": value, "acc_stderr,none": 0.01}
    return {
        "results": {"arc": about, "go": {"acc,none": value / 2}},
        "group_subtasks": {"mmlu": ["law"]},
        "configs": {"arc": {"filter_list": [{"name": "none"}]}},
        "versions": {"arc": 1},
        "n-shot": {"arc": 5},
        "higher_is_better": {"arc": {"acc": True}},
        "n-samples": {"arc": {"original": 9, "effective": 9}},
        "config": {"model_args": f"pretrained={model},dtype=float16", "limit": None},
        "date": 1.5,
    }


def _samples(scores):
    rows = [{"doc_id": i, "arguments": [], "acc": s, "filter": "none"} for i, s in scores]
    return _lines(rows)


def _lighteval(model, value):
    general = {"model_name": model, "max_samples": None, "model_dtype": "bf16"}
    results = {"all": {"acc": value}, "suite|go|5|0": {"acc": value, "acc_stderr": 0.1}}
    return {"config_general": general, "results": results, "versions": {"suite|go|5|0": 1}}


def _open_llm(model, value):
    results = {"harness|arc:challenge|25": {"acc_norm": value}, "harness|drop|3": {"acc": value}}
    return {"config_general": {"model_name": model}, "results": results}


def _helm_spec(model):
    adapter = {"model": model, "max_train_instances": 5}
    return {"name": f"boolq:x=1,model={model}", "scenario_spec": {}, "adapter_spec": adapter}


def _helm_stats(mean):
    name = {"name": "exact_match", "split": "test"}
    return [{"name": name, "count": 1, "mean": mean}, {"name": {"name": "f1_score"}, "count": 0}]


def _inspect(model):
    values = [(1, "C"), (2, "I"), (3, 0.5)]
    samples = [{"id": i, "epoch": 1, "scores": {"match": {"value": v}}} for i, v in values]
    metrics = {"accuracy": {"value": 0.5}, "stderr": {"value": 0.1}}
    about = {"model": model, "task": "go", "created": "2025-05-11T20:28:13-04:00", "config": {}}
    found = {"version": 2, "status": "success", "eval": about, "samples": samples}
    return found | {"results": {"scores": [{"name": "match", "metrics": metrics}]}}


def _zipped(log):
    data = io.BytesIO()
    samples = log["samples"]
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps({**log, "samples": None}))
        for sample in samples:
            archive.writestr(f"samples/{sample['id']}_epoch_1.json", json.dumps(sample))
    return data.getvalue()


def _mteb(value):
    scores = {"test": [{"hf_subset": "default", "main_score": value, "accuracy": value}]}
    return {"task_name": "Banking77", "mteb_version": "1.18.0", "scores": scores}


def _old_mteb(value):
    test = {"accuracy": value, "main_score": value, "evaluation_time": 8.1}
    return {"mteb_dataset_name": "Banking77", "mteb_version": "1.0.2", "test": test}


def _pair(name, make, ending="json"):
    """A file of each of two policies."""
    return {f"{name}/ant.{ending}": make("ant", 0.8), f"{name}/bee.{ending}": make("bee", 0.6)}


def _harnesses():
    table = {
        "title": "Accuracy",
        "header": [{"value": "Model"}, {"value": "EM", "lower_is_better": False}],
        "rows": [[{"value": "ant"}, {"value": 0.1}], [{"value": "bee"}, {"value": 0.2}]],
    }
    helm = {
        "runs/a/run_spec.json": _helm_spec("ant"),
        "runs/a/stats.json": _helm_stats(0.5),
        "runs/b/run_spec.json": _helm_spec("bee"),
        "runs/b/stats.json": _helm_stats(0.25),
    }
    stats = {path: helm[path] for path in reversed(helm)}
    mteb = {"r/org__ant/1/T.json": _mteb(0.8), "r/org__bee/2/T.json": _mteb(0.6)}
    meta = {"r/org__ant/1/model_meta.json": {"name": "ant", "revision": "1"}, **mteb}
    old = {"r/org__ant/1/T.json": _old_mteb(0.8), "r/org__bee/2/T.json": _old_mteb(0.6)}
    samples = {
        "ant/samples_go_2025-01-01T10-00-00.jsonl": _samples([(0, 1.0), (1, 0.0)]),
        "bee/samples_go_2025-01-01T10-00-00.jsonl": _samples([(0, 0.0), (1, 0.0)]),
    }
    instance = [{"instance_id": "id1", "train_trial_index": 0, "stats": []}]
    zips = {"a.eval": _zipped(_inspect("ant")), "b.eval": _zipped(_inspect("bee"))}
    logs = {"a.json": _inspect("ant"), "b.json": _inspect("bee")}
    return [
        _seed("lm-eval", _pair("lm", _lm_eval), rows=4),
        _seed("lm-eval samples", samples, rows=4),
        _seed("lighteval", _pair("le", _lighteval), rows=2),
        _seed("Open LLM v1 results", _pair("ol", _open_llm), rows=4),
        _seed("HELM runs", helm, rows=2),
        _seed("HELM statistics", stats, rows=2),
        _seed("HELM tables", {"core.json": [table]}, rows=2),
        _seed("HELM instances", {"x.json": instance}),
        _seed("inspect_ai", logs, rows=6),
        _seed("inspect_ai zips", zips, rows=6),
        _seed("MTEB", mteb, rows=2),
        _seed("MTEB descriptions", meta, rows=2),
        _seed("MTEB, first layout", old, rows=2),
    ]


def _annotation(model, i, preference):
    about = {"dataset": "helpful", "instruction": f"i{i}", "annotator": "j"}
    return {**about, "generator_1": "base", "generator_2": model, "preference": preference}


def _judgment(model, uid):
    games = [{"score": "A>B", "judgment": {}}, {"score": "B>>A", "judgment": {}}]
    about = {"uid": uid, "category": "hard", "judge": "j", "baseline": "base"}
    return {**about, "model": model, "games": games}


def _vote(kind, a, b):
    states = [{"model_name": a, "messages": []}, {"model_name": b, "messages": []}]
    return {"tstamp": 1.5, "type": kind, "models": ["", ""], "states": states, "ip": "0.0.0.1"}


def _rating(model, question, score):
    about = {"question_id": question, "model": model, "judge": ["j", "single-v1"]}
    return {**about, "score": score, "turn": 1, "tstamp": 1.5}


def _games(question, first, second):
    about = {"question_id": question, "model_1": "ant", "model_2": "bee", "turn": 1}
    return {**about, "judge": ["j", "p"], "g1_winner": first, "g2_winner": second}


def _comparia(a, b, chosen):
    about = {"model_a_name": a, "model_b_name": b, "chosen_model_name": chosen}
    return {**about, "both_equal": chosen is None, "session_hash": "s"}


def _judges():
    battle = {"question_id": 1, "model_a": "ant", "model_b": "bee", "winner": "model_a"}
    interval = {"rating": 1000.5, "rating_q025": 990, "rating_q975": 1010}
    wild = [{"session_id": f"w{i}", "model_test": m, "score": "7"} for i in (1, 2) for m in "ab"]
    wild_pair = {"session_id": "w1", "model_A": "ant", "model_B": "bee", "winner": "ant"}
    counts = {"win_much": 1, "win": 1, "tie": 1, "lose": 1, "lose_much": 0, "total": 4}
    subsets = {"model_type": "x", "alpacaeval-easy": 0.95, "hep-go": 0.9, "math-prm": 0.7}
    items = {"model_type": "x", "id": [30, 31], "results": [1, 0], "subset": ["x", "y"]}
    annotations = [_annotation("ant", i, 1.0 + 0.25 * i) for i in range(4)]
    return [
        _seed("AlpacaEval", {"annotations.json": annotations}, rows=4),
        _seed(
            "Arena-Hard", {"a.jsonl": _lines([_judgment("ant", f"u{i}") for i in (1, 2)])}, rows=2
        ),
        _seed(
            "Arena-Hard battles",
            {"battles.jsonl": _lines([battle, {**battle, "question_id": 2}])},
            rows=2,
        ),
        _seed(
            "MT-bench pairs",
            {"pair.jsonl": _lines([_games(81, "model_1", "model_1"), _games(82, "tie", "tie")])},
            rows=2,
        ),
        _seed(
            "MT-bench ratings",
            {"single.jsonl": _lines([_rating(m, q, 8) for m in ("ant", "bee") for q in (81, 82)])},
            rows=4,
        ),
        _seed(
            "FastChat logs",
            {"log.json": _lines([_vote("leftvote", "ant", "bee"), _vote("tievote", "bee", "cat")])},
            rows=2,
        ),
        _seed(
            "compar:IA",
            {
                "votes.jsonl": _lines(
                    [_comparia("ant", "bee", "ant"), _comparia("bee", "ant", None)]
                )
            },
            rows=2,
        ),
        _seed("LMArena", {"r.json": {"full": {"ant": interval, "bee": interval}}}, rows=2),
        _seed("WildBench scores", {"w.json": wild}, rows=4),
        _seed("WildBench pairs", {"p.json": [wild_pair, {**wild_pair, "winner": "tie"}]}, rows=2),
        _seed("WildBench boards", {"b.json": {"ant": counts, "bee": counts}}, rows=2),
        _seed("RewardBench items", _pair("i", lambda m, v: {"model": m, **items}), rows=4),
        _seed("RewardBench", _pair("s", lambda m, v: {"model": m, **subsets}), rows=4),
    ]


HEADER = ",inputs.q,outputs.a,error,feedback.correctness,feedback.concise,example_id,id\n"
CHART = """"Step","ant - acc","ant - acc__MIN","ant - acc__MAX","bee - acc","bee - acc__MIN",\
"bee - acc__MAX"
"0","0.9","0.1","0.1","0.2","0.2","0.2"
"200","0.7","0.7","0.7","0.6","0.6","0.6"
"""
RUNS = """Start Time,Duration,Run ID,Name,Source Type,Source Name,User,Status,model,seed,acc
2021-12-08 00:32:32,233ms,r1,a,LOCAL,train.py,user,FINISHED,ant,0,0.91
2021-12-08 00:22:03,4.2s,r2,b,LOCAL,train.py,user,FINISHED,bee,0,0.88
"""
SUMMARY = """dataset,version,metric,mode,ant,bee
mmlu_law,2db373,accuracy,ppl,80.00,50.00
humaneval,8e312c,humaneval_pass@1,gen,30.49,28.05
"""


def _evalplus(model, value):
    sample = {"solution": "def f(): ...", "base_status": "pass", "plus_status": "fail"}
    return {"eval": {"H/0": [sample], "H/1": [sample]}, "pass_at_k": {}}


def _bigcode(model, value):
    config = {"model": model, "n_samples": 50, "temperature": 0.2}
    return {"humaneval": {"pass@1": value}, "config": config}


def _events(model, value):
    spec = {"completion_fns": [model], "eval_name": "go.dev", "created_at": "2024-01-01 10:00:00"}
    matches = [{"sample_id": f"s{i}", "type": "match", "data": {"correct": i > 0}} for i in (0, 1)]
    return _lines([{"spec": spec}, {"final_report": {"accuracy": value}, "run_id": "R"}, *matches])


def _promptfoo():
    results = []
    for provider in ({"id": "ant", "label": ""}, {"id": "x", "label": "bee"}):
        for test in (0, 1):
            about = {"provider": provider, "testIdx": test, "promptId": "p", "vars": {"q": test}}
            verdict = {"score": 0.5, "success": False, "failureReason": 1}
            results.append({**about, **verdict, "prompt": {"label": "Solve"}})
    inner = {"version": 3, "prompts": [], "results": results}
    return {"evalId": "eval-1", "results": inner, "config": {}, "version": 1}


def _deepeval(model, value):
    metric = {"name": "Relevancy", "score": value, "threshold": 0.5, "success": True}
    cases = [{"name": f"case_{i}", "order": i, "metricsData": [metric]} for i in (0, 1)]
    return {"testCases": cases, "metricsScores": [], "hyperparameters": {"model": model}}


def _simple(model, value):
    return {"chars": 820.5, "chars:std": 35.5, "score": value, "score:std": 0.4}


def _langsmith(model, value):
    return f"{HEADER}0,q,a,,{value},True,e1,r1\n1,q,a,,0.0,False,e2,r2\n"


def _tools():
    submission = {"no_generation": [], "no_logs": ["d"], "resolved": ["a", "b"]}
    details = {key: {"cost": 0.7, "resolved": key == "a"} for key in "abcd"}
    swe = {
        "evaluation/verified/ant/results/results.json": submission,
        "evaluation/verified/bee/per_instance_details.json": details,
    }
    report = {"resolved_ids": ["a"], "unresolved_ids": ["b"], "schema_version": 2}
    report |= {"submitted_ids": ["a", "b"], "completed_ids": ["a", "b"], "total_instances": 2}
    log = {"a": {"patch_exists": True, "resolved": True, "tests_status": {}}}
    langfuse = '"id","traceId","name","dataType","value","stringValue"\n"s1","t1","c","N","1",""\n'
    logs = {"logs/run/ant/a/report.json": log, "logs/run/bee/a/report.json": log}
    simple = {f"gpqa_{m}_20250101_101010.json": _simple(m, 0.5) for m in ("ant", "bee")}
    plus = {f"{m}_hf_temp_0.0.eval_results.json": _evalplus(m, 0) for m in ("ant", "bee")}
    return [
        _seed("EvalPlus", plus, rows=4),
        _seed("SWE-bench reports", _pair("re", lambda m, v: report), rows=4),
        _seed("SWE-bench submissions", swe, rows=8),
        _seed("SWE-bench logs", logs, rows=2),
        _seed("openai/evals", _pair("oe", _events, "jsonl"), rows=4),
        _seed("simple-evals", simple, rows=2),
        _seed("promptfoo", {"r.json": _promptfoo()}, rows=4),
        _seed("DeepEval", _pair("de", _deepeval), rows=4),
        _seed("BigCode", _pair("bc", _bigcode), rows=2),
        _seed("OpenCompass", {"summary_20250101_101010.csv": SUMMARY}, rows=4),
        _seed("Langfuse", {"scores.csv": langfuse}),
        _seed("LangSmith", _pair("ls", _langsmith, "csv"), rows=4),
        _seed("Weights & Biases", {"wandb.csv": CHART}, rows=2),
        _seed("MLflow", {"runs.csv": RUNS}, rows=2, metric="acc"),
    ]


def _arrays(value):
    import numpy as np

    data = io.BytesIO()
    np.savez(data, timesteps=np.array([1000, 2000]), results=np.array([[1.0, 2.0], [3.0, value]]))
    return data.getvalue()


def _session(a, b):
    policies = "".join(f"  {k}:\n    policy_name: {m}\n" for k, m in (("A", a), ("B", b)))
    return f"language_instruction: fold it\npreference: A\npolicies:\n{policies}"


ROLLOUTS = """Panel,Task,Method,Success/Failure,Num_Successes,Num_Rollouts,Success_Rate
A,Kiwi,ant,"[True,False,True,True]",3,4,0.75
A,Kiwi,bee,"[False,False,True,False]",1,4,0.25
"""


def _learning():
    videos = {}
    for policy in ("ant", "bee"):
        place = f"results/{policy}/scene_v4/arm_pd/Grasp-v0_x/rob_0.35_rgb_overlay_None"
        videos[f"{place}/success_obj_1.mp4"] = b""
    runs = [{"run_number": r, "iteration": 0, "eval_average_return": r + 1.5} for r in (0, 1)]
    steps = [{"Iteration": 0, "Value": 1.5, "Agent": name} for name in ("ant", "bee")]
    monitor = '#{"t_start": 1.5, "env_id": "CartPole-v1"}\nr,l,t\n12.0,12,0.75\n'
    return [
        _seed("SimplerEnv", videos, rows=2),
        _seed(
            "stable-baselines3",
            {"l/ant/evaluations.npz": _arrays(2.0), "l/bee/evaluations.npz": _arrays(1.0)},
            rows=4,
        ),
        _seed("monitor files", {"0.monitor.csv": monitor}),
        _seed("rliable", {"a/Ant/Pong.json": runs, "a/Bee/Pong.json": runs}, rows=4),
        _seed("Dopamine", {"Pong.json": steps}, rows=2),
        _seed(
            "RoboArena",
            {"s-1/metadata.yaml": _session("ant", "bee"), "s-2/metadata.yaml": _session("b", "c")},
            rows=2,
        ),
        _seed("robot rollouts", {"fig.csv": ROLLOUTS}, rows=8),
    ]


NAMES = "".join(f"# ALTERNATIVE NAME {i}: {name}\n" for i, name in enumerate("abc", 1))
SOI = f"# FILE NAME: x.soi\n# NUMBER ALTERNATIVES: 3\n# NUMBER VOTERS: 9\n{NAMES}5: 1,2,3\n4: 3,1\n"
CAT = f"# FILE NAME: x.cat\n# NUMBER CATEGORIES: 2\n{NAMES}2: {{1,2}},{{3}}\n1: 3,{{1,2}}\n"
OLD = "3\n1,a\n2,b\n3,c\n16,16,2\n9,1,2,3\n7,{2,1},3\n"
PGN = """[Event "x"]
[White "ant"]
[Black "bee"]
[Result "1-0"]

1. e4 e5 1-0

[Event "x"]
[White "bee"]
[Black "ant"]
[Result "1/2-1/2"]

1. e4 1/2-1/2
"""
TENNIS = """winner_id,loser_id,winner_name,loser_name,score
1,2,Ant,Bee,6-4 6-4
2,3,Bee,Cat,6-1 6-1
"""
CLUBS = """Rank,Club,Country,Level,Elo,From,To
1,Ant,ENG,1,2000.5,2024-01-01,2024-02-01
2,Bee,ENG,1,1900.5,2024-01-01,2024-02-01
"""
ORDO = """   # PLAYER      :  RATING  ERROR  POINTS  PLAYED   (%)
   1 ant         :  2300.5   10.5    20.0      30    67
   2 bee         :  2200.5   11.5    10.0      30    33
"""
BAYES = """Rank Name   Elo    +    - games score oppo. draws
   1 ant     50   20   21    30   67%   -50    3%
   2 bee    -50   22   20    30   33%    50    3%
"""
KAGGLE = """Rank,TeamId,TeamName,LastSubmissionDate,Score
1,11,Ant,2024-01-01,0.91
2,12,Bee,2024-01-01,0.82
"""
OPEN_V1 = "Model,Average,Parameters,HellaSwag,ARC\nant,60.5,7,70.5,50.5\nbee,50.5,7,60.5,40.5\n"
OPEN_V2 = (
    "eval_name,fullname,Flagged,Precision,IFEval,BBH\na,ant,False,b,0.5,0.6\nb,bee,False,b,1,2\n"
)
ASR = "Model,RTFx,Model size (B),Avg. WER,AMI WER\nant,100,1,5.5,16.5\nbee,90,2,6.5,11.5\n"
ARENA = "key,Model,Arena Elo rating (anony),Arena Elo rating\na,ant,1000.5,1\nb,bee,900.5,1\n"
ALPACA = """,win_rate,standard_error,n_wins,n_total,length_controlled_winrate
ant,5,1,3,9,6
bee,7,1,3,9,8
"""


def _boards():
    run = "q1 Q0 d1 1 2.5 tag\nq1 Q0 d2 2 1.5 tag\n"
    return [
        _seed("PrefLib", {"x.soi": SOI}, rows=2),
        _seed("PrefLib approvals", {"x.cat": CAT}, rows=2),
        _seed("PrefLib, old", {"x.toc": OLD}, rows=2),
        _seed("PrefLib matching", {"x.wmd": "3,3\n1,Pair 1\n0,1,1\n"}),
        _seed("ballots by line", {"b.txt": "ant > bee = cat\n2: bee > ant\n"}, rows=2),
        _seed("TREC", {"x.run": run}),
        _seed("PGN", {"x.pgn": PGN}, rows=2),
        _seed("tennis", {"atp.csv": TENNIS}, rows=2),
        _seed("ClubElo", {"clubs.csv": CLUBS}, rows=2),
        _seed("Ordo", {"ordo.txt": ORDO}, rows=2),
        _seed("BayesElo", {"bayes.txt": BAYES}, rows=2),
        _seed("Kaggle", {"kaggle.csv": KAGGLE}, rows=2),
        _seed("Open LLM v1", {"v1.csv": OPEN_V1}, rows=4),
        _seed("Open LLM v2", {"v2.csv": OPEN_V2}, rows=4),
        _seed("Open ASR", {"asr.csv": ASR}, rows=2),
        _seed("MTEB arena", {"arena.csv": ARENA}, rows=2),
        _seed("AlpacaEval board", {"alpaca.csv": ALPACA}, rows=2),
    ]


def truth():
    """A ground truth of two images, with what LVIS adds."""
    images = [{"id": i, "height": 200, "width": 200} for i in (1, 4)]
    images[0] |= {"neg_category_ids": [5], "not_exhaustive_category_ids": [6]}
    box = {"bbox": [1.5, 2.0, 30.0, 40.0], "area": 1000.0, "iscrowd": 0}
    objects = [{"id": i, "image_id": 1, "category_id": 5, **box} for i in (1, 2)]
    objects[0]["segmentation"] = [[1, 1, 20, 1, 20, 20]]
    kinds = [{"id": 5, "name": "cup", "frequency": "r"}, {"id": 6, "name": "box"}]
    return {"images": images, "annotations": objects, "categories": kinds}


def _others():
    found = [{"image_id": 1, "category_id": 5, "score": 0.5, "bbox": [1, 2, 3, 4]}] * 3
    found[2] = {**found[2], "segmentation": {"counts": "abc", "size": [200, 200]}}
    listed = {"prompt": "p", "completions": ["a", "b", "c"], "scores": [1.5, 0.5, 0]}
    chats = [[{"role": "user", "content": "u"}, {"role": "assistant", "content": c}] for c in "xy"]
    leaves = [{"text": "a", "score": 1.0}, {"text": "b", "value": 0.0}]
    tree = {"prompt": "p", "tree": {"text": "r", "children": leaves}}
    ranked = {"prompt": "p", "completions": [["a", "b"], ["c"]], "ranks": [1, 2]}
    answers = [listed, ranked, {"chosen": chats[0], "rejected": chats[1]}, tree]
    pairs = "prompt,chosen,rejected\np,a,b\nq,c,d\n"
    texts = [{"_id": "d1", "title": "t", "text": "some words"}, {"id": "d2", "text": "more"}]
    run = "q1 Q0 d1 1 2.5 tag\nq1 Q0 d2 2 1.5 tag\nq2 Q0 d1 1 3 tag\n"
    return [
        _seed("answers", {"answers.jsonl": _lines(answers)}, "answers", rows=4),
        _seed("answers in a table", {"pairs.csv": pairs}, "answers", rows=2),
        _seed("ground truth", {"truth.json": truth()}, "truth", rows=2),
        _seed("detections", {"found.json": found}, "detections", rows=3),
        _seed("texts", {"docs.jsonl": _lines(texts)}, "texts", rows=2),
        _seed("texts by tabs", {"docs.tsv": "d1\tsome words\nd2\tmore\twords\n"}, "texts", rows=2),
        _seed("runs", {"x.run": run}, "run", rows=3),
        _seed("judgements", {"x.qrels": "q1 0 d1 1\nq1 0 d2 0\n"}, "qrels", rows=2),
        _seed(
            "judgements by tabs",
            {"x.tsv": "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\n"},
            "qrels",
            rows=2,
        ),
    ]
