"""The names that columns usually have."""

from __future__ import annotations

PAIRS = (
    ("model_a", "model_b"),
    ("policy_a", "policy_b"),
    ("a", "b"),
    ("left", "right"),
    ("white", "black"),
    ("home", "away"),
    ("home_team", "away_team"),
    ("ht", "at"),
    ("first", "second"),
    ("chosen_model", "rejected_model"),
    ("chosen", "rejected"),
    ("winner", "loser"),
    ("winner_name", "loser_name"),
    ("winner_model", "loser_model"),
    ("player", "opponent"),
    ("team", "opponent"),
    ("model", "opponent"),
    ("policy", "opponent"),
    ("agent", "opponent"),
    ("model", "baseline"),
    ("policy", "baseline"),
    ("x", "y"),
    ("i", "j"),
)
"""Names of the two columns of policies that do not end in a side."""

SIDES = (
    ("a", "b"),
    ("1", "2"),
    ("x", "y"),
    ("left", "right"),
    ("first", "second"),
    ("home", "away"),
    ("white", "black"),
    ("winner", "loser"),
    ("chosen", "rejected"),
)
"""Words that tell the two columns of a pair apart."""

SIDED = frozenset(
    """
    model policy agent system player team item generator assistant bot candidate method engine
    competitor club response answer output option llm modelname agentname systemname playername
    teamname policyname generatorname name
    """.split()
)
"""What a pair of columns may be called beside the word of its side: model_a, agent 2, system_x."""

OUTCOME = (
    "outcome",
    "winner",
    "result",
    "preference",
    "preferred",
    "vote",
    "verdict",
    "choice",
    "decision",
    "judgment",
    "judgement",
    "label",
    "score",
    "win",
    "res",
    "ftr",
)
POLICY = (
    "policy",
    "model",
    "model_name",
    "model_id",
    "agent",
    "agent_name",
    "system",
    "system_name",
    "method",
    "method_name",
    "algorithm",
    "algo",
    "approach",
    "player",
    "team",
    "team_name",
    "submission",
    "submission_name",
    "candidate",
    "checkpoint",
    "ckpt",
    "run_name",
    "run",
    "policy_name",
    "engine",
    "bot",
    "llm",
    "provider",
    "solver",
    "strategy",
    "controller",
    "treatment",
    "arm",
    "variant",
    "detector",
    "retriever",
    "reranker",
    "ranker",
    "generator",
    "participant",
    "contestant",
    "competitor",
    "club",
    "fullname",
    "name",
)
TASK = (
    "task",
    "task_name",
    "dataset",
    "dataset_name",
    "game",
    "benchmark",
    "environment",
    "env",
    "env_id",
    "env_name",
    "category",
    "subject",
    "scenario",
    "domain",
    "problem",
    "problem_id",
    "prompt_id",
    "question_id",
    "query_id",
    "qid",
    "instance_id",
    "example_id",
    "item",
    "question",
    "query",
    "instance",
    "example",
    "prompt",
)
RATER = (
    "rater",
    "judge",
    "worker",
    "annotator",
    "voter",
    "evaluator",
    "user",
    "user_id",
    "judge_hash",
    "evaluation_session_id",
    "session_id",
    "session_hash",
)
TIME = ("time", "timestamp", "tstamp", "date", "datetime", "created_at")
WEIGHT = ("weight",)
COUNT = ("count", "num_battles", "battles")
SCORE = (
    "score",
    "value",
    "result",
    "return",
    "reward",
    "accuracy",
    "acc",
    "success",
    "success_rate",
    "correct",
    "metric_value",
)
REPLICATE = ("replicate", "seed", "run", "run_id", "trial", "episode", "repeat", "fold", "doc_id")
METRIC = ("metric", "measure", "metric_name")
BALLOT = ("ballot", "voter", "judge", "rater", "annotator", "query", "task")
RANK = ("rank", "position", "place")
ORDER = ("ranking", "order", "ballot")
