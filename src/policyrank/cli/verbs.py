"""The verbs by what people want: where each one lives, and its help in a line.

Nothing is imported to show this list; a test holds that each line is the first of its docstring.
"""

from __future__ import annotations

from typing import NamedTuple


class Verb(NamedTuple):
    """A verb: the function behind it (``module:name``) and the first line of its docstring."""

    place: str
    about: str


RANK, TRUST, MEASURE, TRAIN, LEARN = (
    "Rank results",
    "Can it be trusted?",
    "Measure policies",
    "Train policies",
    "Look around",
)

GROUPS: dict[str, dict[str, Verb]] = {
    RANK: {
        "rank": Verb("rank:rank_file", "Rank the policies in FILE, and say how sure that is."),
        "compare": Verb(
            "compare:compare_file", "Rank FILE by every method that applies: where do they agree?"
        ),
        "read": Verb(
            "read:read_files",
            "Show how FILE is understood: policies, tasks, outcomes, and what is left out.",
        ),
        "profile": Verb(
            "profile:profile_file",
            "Performance profiles: which share of runs scores above each threshold?",
        ),
        "eval-run": Verb("eval_run:rank_runs", "Score retrieval runs by query, and rank them."),
        "eval-detections": Verb(
            "eval_detections:rank_detectors", "Average precision of detectors, and their ranking."
        ),
    },
    TRUST: {
        "audit": Verb("audit:audit_file", "What would a careful reader of FILE object to?"),
        "collapse": Verb(
            "collapse:watch_file", "Does the training collapse whose log is FILE, and since when?"
        ),
        "sim2real": Verb(
            "sim2real:compare_worlds",
            "Does simulation (a world model, a proxy) order policies as reality does?",
        ),
        "preferences": Verb(
            "preferences:audit_model", "Does a language model rank answers as people do?"
        ),
        "attack": Verb(
            "attack:attack_ranker", "How far can a few words move documents in your ranker?"
        ),
    },
    MEASURE: {
        "plan": Verb("plan:plan_file", "Plan the next comparisons, and what they will settle."),
        "evaluate": Verb(
            "evaluate:evaluate_spec", "Evaluate policies, choosing what to run next, and rank them."
        ),
    },
    TRAIN: {
        "rerank": Verb(
            "rerank:rerank_candidates",
            "Rank candidates with a trained ranker, an endpoint, or by asking a language model.",
        ),
        "serve": Verb(
            "serve:serve_ranker",
            "Serve a trained ranker, or a language model: POST /v1/rerank and /v1/score.",
        ),
        "score": Verb("answers:score_answers", "Score and rank answers by a model or a program."),
        "generate": Verb(
            "answers:generate_answers",
            "Answer prompts, by the best of several where somebody scores them.",
        ),
        "merge": Verb("merge:merge_adapters", "Merge adapters into the weights of their base."),
    },
    LEARN: {
        "demo": Verb("demo:show_demo", "Rank published or simulated results on the spot."),
        "methods": Verb("compare:list_methods", "List the ranking methods."),
    },
}
"""Title -> verb -> where it is."""

FAMILIES: dict[str, tuple[str, str, dict[str, Verb]]] = {
    "world": (
        MEASURE,
        "Simulate the policies of a world, and rank them.",
        {
            "inventory": Verb(
                "world_inventory:rank_inventory", "Rank inventory controllers over scenarios."
            ),
            "supply": Verb("world_supply:rank_supply", "Rank interventions on a supply network."),
            "matching": Verb(
                "world_matching:rank_matching",
                "Rank rules that match arrivals when a match may fail.",
            ),
            "exposure": Verb(
                "world_exposure:rank_exposure", "Rank ranking policies by what they do to people."
            ),
        },
    ),
    "train": (
        TRAIN,
        "Train policies.",
        {
            "ranker": Verb(
                "train_ranker:train_on_lists", "Train a ranker of features or of texts."
            ),
            "preference": Verb(
                "train_answers:train_preference", "Train a language model on ranked answers."
            ),
            "reward": Verb("train_answers:train_reward", "Train a reward model on ranked answers."),
            "distil": Verb(
                "train_rounds:train_distil", "Distil a teacher from one answer a prompt."
            ),
            "group": Verb(
                "train_group:train_on_groups",
                "Train a language model on groups of its own outputs.",
            ),
            "filter": Verb(
                "train_filter:choose_filter",
                "Which answers to train on: filters by how far the reward can be trusted where they"
                " look.",
            ),
            "masked-diffusion": Verb(
                "train_denoising:train_masked_diffusion",
                "Train a masked diffusion language model on groups of its own answers.",
            ),
            "ppo": Verb(
                "train_ppo:train_with_critic",
                "Train a language model by rewards and a critic (PPO).",
            ),
            "search-agent": Verb(
                "train_agent:train_search_agent",
                "Train a language model to search a corpus until it can answer.",
            ),
            "programs": Verb(
                "train_programs:train_program_reranker",
                "Train a reranker of programs in a sandbox.",
            ),
            "controller": Verb(
                "train_control:train_controller", "Train an inventory controller, and rank it."
            ),
            "persona": Verb(
                "train_control:train_persona", "Train a judge of claims whom a framing sways."
            ),
        },
    ),
    "rollouts": (
        TRUST,
        "Read what agents did.",
        {
            "show": Verb(
                "rollouts:show_rollouts",
                "Show the trajectories in FILE turn by turn: what was written, called, read, and"
                " gained.",
            ),
        },
    ),
    "log": (
        TRUST,
        "Logs of control.",
        {
            "check": Verb(
                "log_check:check_file",
                "What is wrong with a log of control, before anyone trains on it?",
            ),
        },
    ),
    "study": (
        LEARN,
        "Measure papers' claims against their baselines.",
        {
            "list": Verb("study:list_studies", "List the studies."),
            "run": Verb("study:run_one", "Run a study, rank its methods, judge its claims."),
            "all": Verb(
                "study:run_all",
                "Run all studies, each seed in a process of its own; what was measured before is"
                " kept.",
            ),
        },
    ),
}
"""Family -> title, help, its verbs."""
