"""Studies: one file a paper - its claim, measured small, against its baselines."""

from policyrank.studies.frame import Claim, Scale, Study, Verdict, judge, page, run_study, table

STUDIES: dict[str, str] = {
    "active-evaluation": "samplers and estimators for few evaluations (arXiv 2601.07651)",
    "basir": "identifying and ranking sectors, and what NDCG near 1 is worth (arXiv 2504.13189)",
    "best-systems": "rank aggregation against the mean score on NLP benchmarks (arXiv 2202.03799)",
    "fair-subset-selection": (
        "committees from biased rankings, with and without quotas (arXiv 2306.09835)"
    ),
    "large-vocabulary-ap": (
        "average precision that cannot be gamed, and calibration (arXiv 2102.01066)"
    ),
    "leaderboard-illusion": (
        "private testing, removal and sparse sampling on real and simulated votes (arXiv"
        " 2504.20879)"
    ),
    "lipo": "learning-to-rank losses as objectives of alignment (arXiv 2402.01878)",
    "multiagent-incomplete-information": (
        "ResponseGraphUCB: alpha-Rank from sampled payoffs (arXiv 1909.09849)"
    ),
    "neural-pg-rank": (
        "policy gradient on the measure against other ranking losses (arXiv 2310.04407)"
    ),
    "objectives": "all objectives of preferences on the same ranked lists",
    "online-matching-stochastic-rewards": (
        "policies and bounds for matches that may fail (arXiv 2309.10289)"
    ),
    "order-disorder": "imitation attacks on black-box rankers (arXiv 2209.06506)",
    "polar": "policy discriminators as reward models (arXiv 2507.05197)",
    "preference-ranking-accuracy": (
        "do language models rank answers as people do (arXiv 2405.19534)"
    ),
    "pro": "preference ranking optimization of whole lists (arXiv 2306.17492)",
    "pu-rl-distillation": "distillation from one teacher answer a prompt (arXiv 2601.20687)",
    "rank-coverage": "coverage of our own intervals and rank sets on simulated comparisons",
    "ranklist": "listwise preference learning of rated sentences (arXiv 2508.09826)",
    "reinforced-reranking": "rerankers of programs that train themselves (arXiv 2504.09643)",
    "roboarena": (
        "distributed preferences against one site's averages for robot policies (arXiv 2506.18123)"
    ),
    "screening-prioritisation": "neural rankers for systematic reviews (arXiv 2212.09017)",
    "topic-attack": "attacks for a whole group of queries (arXiv 2304.14867)",
    "tpo": "preference trees and weights of steps (arXiv 2410.12854)",
    "training-curricula": "easy samples first, for re-rankers (arXiv 2004.14269)",
    "trial-transport": "effects in a small trial with the help of others (arXiv 2604.02656)",
    "frameref": (
        "personas that a framing sways, and ranking policies by what exposure does to them (arXiv"
        " 2602.15273)"
    ),
    "qr-spps": (
        "risk and interventions on a supply network, exactly and by quantum circuits (arXiv"
        " 2604.00035)"
    ),
    "gym-invmgmt": "controllers of inventory over a grid of scenarios (arXiv 2605.11355)",
    "vsdr": "policies chosen by simulation and unlabelled real observations (arXiv 2111.00765)",
}

__all__ = ["STUDIES", "Claim", "Scale", "Study", "Verdict", "judge", "page", "run_study", "table"]
