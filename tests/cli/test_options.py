"""Every option of every verb stands in a test that would fail if the option did nothing.

The table says which one; that it does is shown by tests that compare runs with and without.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from policyrank.cli import build
from policyrank.cli.verbs import FAMILIES, GROUPS

HERE = Path(__file__).parent
BOARDS, READING, WORLDS = "boards.", "reading.", "worlds."
TRAINING, ANSWERS, RANKERS = "training.", "answers.", "rankers."
ROLLOUTS = "rollouts."
DIFFUSION = "diffusion."
LANGUAGE, ENDPOINTS, SERVING = "language_rankers.", "rerank_endpoints.", "serving."
LOGS, SIMULATIONS = "logs.", "simulations."

READ = {
    READING + "columns_are_read_as_told": (
        "--kind --a --b --outcome --first-wins --policy --task --score --metric --replicate --unit"
        " --rater --time --ballot --order --covariate --rows --tasks --lower-is-better"
        " --higher-is-better --only --on --skip-bad FILES"
    ),
    READING + "guesses_are_refused_where_told": "--strict",
    READING + "a_database_is_read_in_place_of_files": "--sql --query",
}
SHOWN = {
    WORLDS + "where_a_board_goes": "--html --plot --title --json --csv --markdown --top --out",
    WORLDS + "a_seed_is_a_draw": "--seed",
}
TUNED = (
    "--epochs --steps --batch --accumulate --learning-rate --schedule --warmup --optimizer"
    " --weight-decay --clip --layers --bf16 --dtype --dropout --gradient-checkpointing --seed"
    " --report-to --push"
)
TRAINED = {
    TRAINING + "how_a_model_is_trained": TUNED,
    TRAINING + "adapters_are_as_told": (
        "--lora --lora-alpha --lora-dropout --lora-target --rslora"
    ),
    TRAINING + "where_a_model_comes_from_and_goes": "--model --out",
}
SAVED = TRAINED | {TRAINING + "how_a_model_is_trained": TUNED + " --log-every --save"}
TEXTS = {TRAINING + "how_texts_are_read": "--max-length --plain --chat --cut-prompts"}
JUDGED = {
    ANSWERS + "who_scores": (
        "--reward --judge --likelihood --references --polar --trust-remote-code"
    )
}

EXERCISED = {
    "rank": READ
    | {
        BOARDS + "a_board_differs": (
            "--method -m --scale --prior --anchor --order-effect --interval --cluster --level"
        ),
        BOARDS + "rank_sets_of_each_policy_alone": "--marginal",
        BOARDS + "options_of_a_method": "--option -o",
        BOARDS + "resampling": "--resamples --seed",
        BOARDS + "forms_of_output": "--json --csv --markdown",
        BOARDS + "only_the_first_are_shown": "--top",
        BOARDS + "pages_and_their_titles": "--html",
        BOARDS + "plots_and_their_titles": "--plot --title",
    },
    "compare": READ
    | {
        BOARDS + "methods_that_are_compared": "--methods",
        BOARDS + "forms_of_output": "--json --csv",
        BOARDS + "only_the_first_are_shown": "--top",
        BOARDS + "pages_and_their_titles": "--html --title",
    },
    "read": READ | {BOARDS + "forms_of_output": "--json --csv", BOARDS + "first_rows": "--first"},
    "profile": READ
    | {
        BOARDS + "profiles_differ": "--threshold --interval --level",
        BOARDS + "resampling": "--resamples --seed",
        BOARDS + "forms_of_output": "--json --csv",
        BOARDS + "plots_and_their_titles": "--plot --title",
    },
    "audit": READ
    | {
        BOARDS + "an_audit_differs": "--owners --level --fail-on-concern",
        BOARDS + "forms_of_output": "--json",
        BOARDS + "pages_and_their_titles": "--html --title",
    },
    "collapse": {
        LOGS + "how_a_log_is_read": "--column --step --run FILE",
        LOGS + "limits_differ": "--limit --baseline --patience",
        LOGS + "where_the_signals_go": "--html --plot --title --fail-on-alarm --json",
    },
    "sim2real": {
        SIMULATIONS + "columns_are_as_told": (
            "--policy --task --simulated --real --simulated-trials --real-trials"
        ),
        SIMULATIONS + "how_sure": "--level --seed --draws",
        SIMULATIONS + "one_table": "--json --csv",
        SIMULATIONS + "where_it_goes": "--html --plot --title --fail-on-concern",
        SIMULATIONS + "episodes_in_two_files": "FILES",
    },
    "log check": {
        SIMULATIONS + "a_log_of_control": "--html --title --json --fail-on-concern DATA",
    },
    "plan": READ
    | {BOARDS + "a_plan_differs": "--budget --goal", BOARDS + "forms_of_output": "--json --csv"},
    "eval-run": {
        BOARDS + "retrieval_runs": "--measure -m --least --answered --out --html --json --top FILES"
    },
    "eval-detections": {
        BOARDS + "detectors": "--budget --masks --iou --recall-at --audit --out --html --json FILES"
    },
    "methods": {BOARDS + "what_is_listed": "--train"},
    "demo": {BOARDS + "what_is_listed": "--out WHAT"},
    "evaluate": {
        BOARDS + "how_many_evaluations_and_of_whom": "--budget --sampler SPEC",
        BOARDS + "when_evaluation_stops": "--stop --delta",
        BOARDS + "seeds_of_evaluations": "--seed --independent",
        BOARDS + "failures_are_tried_again": "--retries",
        BOARDS + "where_evaluations_run": "--workers --timeout",
        BOARDS + "a_cluster_is_named": "--ray",
        BOARDS + "what_evaluation_keeps_and_writes": "--store --run --out --html --top",
        BOARDS + "forms_of_output": "--json --csv --markdown",
        BOARDS + "what_policies_print_is_kept": "--log",
    },
    "world inventory": SHOWN
    | {
        WORLDS + "demand_of_an_inventory": (
            "--network --regime --unmet --goodwill --series --noise --periods"
        ),
        WORLDS + "controllers_episodes_and_what_counts": (
            "--core-grid --controller --episodes --kpi"
        ),
    },
    "world supply": SHOWN
    | {
        WORLDS + "a_supply_network": (
            "--nodes --edges --interventions --shock --failed --temperature --convention --by"
            " --at-least --spread --runs"
        )
    },
    "world matching": SHOWN
    | {WORLDS + "matchings": "--triangle --random --rule --bound --runs INSTANCES"},
    "world exposure": SHOWN
    | {
        WORLDS + "exposure": (
            "--framing --alpha --people --spread --steps --encoder --policy --metric CLAIMS"
        )
    },
    "train controller": {
        WORLDS + "a_controller_is_trained_as_told": (
            "--out --network --regime --lost-sales --goodwill --series --architecture --base"
            " --imitate --steps --rounds --episodes --seed"
        )
    },
    "score": JUDGED
    | {
        ANSWERS + "how_texts_are_read_by_who_scores": (
            "--max-length --plain --chat --cut-prompts FILE"
        ),
        ANSWERS + "a_program_scores_and_where_rows_go": "--program --out",
    },
    "generate": JUDGED
    | {
        ANSWERS + "samples": "--samples --tokens --temperature --seed --model PROMPTS",
        ANSWERS + "prompts_are_read_as_told": "--max-length --plain --chat --cut-prompts",
        ANSWERS + "a_program_scores_and_where_rows_go": "--program --out",
    },
    "preferences": {
        ANSWERS + "preferences": (
            "--model --device --batch-tokens --no-end --store --out --json --max-length --plain"
            " --chat --cut-prompts PAIRS"
        )
    },
    "merge": {ANSWERS + "merging": "--out --dtype MODEL"},
    "train preference": SAVED
    | TEXTS
    | {
        TRAINING + "an_objective_is_as_told": (
            "--loss --labels --beta --option --sft-weight --step-weights --data"
        ),
        TRAINING + "data_to_evaluate_on": "--eval",
        TRAINING + "a_reference_and_a_judge": "--reference --reward",
    },
    "train reward": SAVED
    | TEXTS
    | {
        TRAINING + "an_objective_is_as_told": "--loss --labels --imitation --data",
        TRAINING + "options_of_a_reward_loss": "--option",
        TRAINING + "data_to_evaluate_on": "--eval",
        TRAINING + "a_reference_and_a_judge": "--with-reference",
    },
    "train distil": TRAINED
    | TEXTS
    | {
        TRAINING + "distillation_is_as_told": (
            "--teacher --learn --judge --rounds --temperature --option PROMPTS"
        ),
        TRAINING + "a_teacher_at_an_endpoint": "--teacher-model --key --samples --tokens",
    },
    "train group": SAVED
    | TEXTS
    | {
        TRAINING + "groups_are_compared_as_told": (
            "--data --advantage --advantage-option --objective --option --passes"
            " --steps-per-round --keep-agreeing --mask-cut --reward-kl --labels"
        ),
        TRAINING + "outputs_have_segments": "--segments",
        TRAINING + "outputs_of_earlier_rounds_are_replayed": (
            "--replay --replay-sides --replay-choice --replay-ratio --damping --entropy-reward"
            " --entropy-share --replay-capacity --replay-rounds --solved"
        ),
        TRAINING + "hard_prompts_are_asked_again": "--hard --reflection",
        TRAINING + "groups_are_sampled_as_told": (
            "--samples --tokens --temperature --top-k --top-p --sampled-rows"
        ),
        TRAINING + "a_server_samples": (
            "--server --served-model --key --server-adapters --retokenise --correction"
        ),
        TRAINING + "rewards_that_models_give": "--reward --reference",
        TRAINING + "reward_models_read_references": "--references --polar --trust-remote-code",
        TRAINING + "rewards_by_name": (
            "--reward --weight --compose --label --places --lenient --test-seconds --package"
        ),
        TRAINING + "rewards_that_fail": "--reward-seconds --count-failures",
        TRAINING + "what_is_done_at_a_collapse": "--collapse",
        TRAINING + "groups_to_evaluate_on": "--eval",
    },
    "train ppo": SAVED
    | TEXTS
    | {
        TRAINING + "a_critic_learns_as_told": (
            "--critic-learning-rate --critic-rounds --value-clip --value-weight --kl --discount"
            " --decay --raw-rewards --reward-clip --cut-reward --whiten --advantage-clip"
            " --objective --option --passes --steps-per-round --mask-cut --filter --filter-option"
            " --kept --samples --tokens --temperature --top-k --top-p --sampled-rows --correction"
            " --reward-seconds --count-failures --eval --reward-kl --data"
        ),
        TRAINING + "what_is_done_at_a_collapse": "--collapse",
        TRAINING + "hard_prompts_are_asked_again": (
            "--hard --reflection --solved --replay-capacity --replay-rounds"
        ),
        TRAINING + "what_a_critic_begins_as": (
            "--critic --reference --pretraining --pretraining-weight --pretraining-rows"
        ),
        TRAINING + "a_server_samples": (
            "--server --served-model --key --server-adapters --retokenise"
        ),
        TRAINING + "rewards_by_name": (
            "--reward --weight --compose --label --places --lenient --test-seconds --package"
        ),
        TRAINING + "reward_models_read_references": "--references --polar --trust-remote-code",
    },
    "train filter": {
        LOGS + "filters_differ": (
            "--prompt --reward --score --groups --threshold --bottom --level --resamples --seed"
            " --from"
        ),
        LOGS + "where_filters_go": "--out --json",
    },
    "train search-agent": SAVED
    | TEXTS
    | {
        TRAINING + "what_an_agent_searches": (
            "--corpus --passage-words --first-stage --encoder --ranker --kind --depth --passages"
            " --shown-words"
        ),
        TRAINING + "a_ranker_learns_beside_an_agent": (
            "--train-ranker --ranker-learning-rate --freeze-agent --gate --like"
        ),
        TRAINING + "questions_and_answers_are_as_told": (
            "--questions --question --label --metric --style --instruction --eval --segments"
        ),
        TRAINING + "how_far_an_agent_may_go": (
            "--turns --turn-tokens --read-tokens --keep --go-on-cut --environment-seconds"
            " --round-seconds --failed --unfinished --by-turn --discount --tokens"
        ),
        TRAINING + "an_agent_is_compared_and_sampled_as_told": (
            "--samples --temperature --top-k --top-p --sampled-rows --advantage"
            " --advantage-option --objective --option --passes --steps-per-round --keep-agreeing"
            " --mask-cut --reference --server --served-model --key --server-adapters --retokenise"
            " --correction --labels"
        ),
        TRAINING + "what_is_done_at_a_collapse": "--collapse",
    },
    "train masked-diffusion": {
        DIFFUSION + "the_trainer_is_told": (
            "--epochs --steps --batch --accumulate --learning-rate --schedule --warmup --optimizer"
            " --weight-decay --clip --seed --log-every --save --samples --tokens --denoising-steps"
            " --block --order --choice --temperature --sampled-rows --advantage --objective"
            " --passes --steps-per-round --max-length --reward-seconds --reward-kl --bf16"
            " --gradient-checkpointing --keep-agreeing --mask-cut --count-failures --plain"
            " --cut-prompts"
        ),
        DIFFUSION + "what_is_done_at_a_collapse": "--collapse",
        DIFFUSION + "named_options": "--advantage-option --option --report-to --chat --reference",
        DIFFUSION + "weights_and_layers": "--layers --dropout --dtype --push --model --out",
        DIFFUSION + "rewards_and_data": (
            "--reward --weight --compose --label --lenient --places --test-seconds --package --data"
            " --eval --references --polar --trust-remote-code"
        ),
        DIFFUSION + "code_of_a_model_runs_only_where_that_is_told": "--trust-model-code",
    },
    "train programs": TRAINED
    | TEXTS
    | {
        TRAINING + "programs_are_trained_as_told": (
            "--reranker --iterations --keep --rounds --samples --tokens --temperature --seconds"
            " --package PROBLEMS"
        ),
        TRAINING + "an_objective_is_as_told": "--loss",
    },
    "train persona": SAVED
    | {TRAINING + "a_persona_is_as_told": "--framing --alpha --held-out CLAIMS"},
    "train ranker": {
        RANKERS + "how_a_ranker_is_trained": (
            "--loss --metric --epochs --patience --lists --accumulate --size --sampler --per-epoch"
            " --learning-rate --scheduler --warmup --optimizer --weight-decay --clip --seed"
            " --log-every --bf16 --option"
        ),
        RANKERS + "what_a_ranker_is": "--kind --model-option CONFIG",
        RANKERS + "what_a_ranker_of_features_learns_from": (
            "--train --validation --test --raw --zero-based --out"
        ),
        RANKERS + "what_a_ranker_of_texts_learns_from": (
            "--queries --documents --run --in-batch --random --first-stage --depth --encoder"
        ),
        RANKERS + "how_an_encoder_is_trained": (
            "--name --layers --max-length --dtype --gradient-checkpointing --lora --lora-alpha"
            " --lora-dropout --lora-target --rslora"
        ),
        RANKERS + "trackers_of_experiments": "--report-to",
    },
    "rerank": {
        RANKERS + "reranking_texts": (
            "--queries --documents --run --out --candidates-out --max-length --dtype --depth"
            " --first-stage --kind RANKER"
        ),
        RANKERS + "what_says_nothing_is_refused": "--zero-based FILE",
        LANGUAGE + "methods_bring_the_best_up": "--method",
        LANGUAGE + "how_it_is_asked": "--children --places --votes --query-words --passage-words",
        LANGUAGE + "windows": "--window --step --passes",
        LANGUAGE + "thinking": "--thinks --tokens",
        LANGUAGE + "questions_in_other_words": "--questions",
        LANGUAGE + "the_endpoint_is_as_told": "--served-model --key --cache --retries --timeout",
        LANGUAGE + "workers_are_queries_at_once": "--workers",
        ENDPOINTS + "how_a_rerank_endpoint_is_asked": (
            "--api --served-model --key --workers --at-once --truncate --retries --timeout --cache"
            " --query-words --passage-words --calls"
        ),
        LANGUAGE + "a_budget_and_answers_that_cannot_be_read": "--calls",
        LANGUAGE + "a_local_model_weighs_or_writes": "--write",
    },
    "rollouts show": {
        ROLLOUTS + "trajectories_are_chosen": (
            "--worst --best --group --step --stopped --trouble --tool FILE"
        ),
        ROLLOUTS + "how_they_are_shown": "--top --characters --html --title --json",
    },
    "serve": {
        SERVING + "what_is_served": "--kind --max-length --dtype --sigmoid RANKER",
        SERVING + "where_it_is_served": "--host --port --key --served-model",
        SERVING + "what_is_taken": "--max-documents --max-megabytes --max-waiting",
        LANGUAGE + "how_a_served_language_model_is_asked": (
            "--method --children --places --votes --window --step --passes --query-words"
            " --passage-words --tokens --questions --write --thinks"
        ),
    },
    "attack": {
        RANKERS + "attacks_are_as_told": (
            "--queries --documents --kind --run --depth --method --attacked --targets --budget"
            " --lists --seed --csv --out RANKER"
        ),
        RANKERS + "attacks_on_topics_are_as_told": "--topics",
    },
}
"""Verb -> test -> the options of the verb that it exercises; arguments without a dash are named in
capitals. The family `study` has its tests in tests/studies.
"""


def test_every_option_stands_in_the_table():
    found = {}
    families = {name: verbs for name, (_, _, verbs) in FAMILIES.items() if name != "study"}
    verbs = [[verb] for group in GROUPS.values() for verb in group]
    verbs += [[family, verb] for family, members in families.items() for verb in members]
    for verb in verbs:
        app = whole = build(verb)
        for word in verb:
            app = app[word]
        told = app.assemble_argument_collection(default_parameter=whole.default_parameter)
        names = [name for own in told if not own.children for name in own.names]
        found[" ".join(verb)] = set(names)
    table = {verb: set(" ".join(tests.values()).split()) for verb, tests in EXERCISED.items()}
    assert table == found


@cache
def module(place):
    """What stands in a module of tests, by name."""
    tree = ast.parse((HERE / f"test_options_of_{place}.py").read_text(encoding="utf-8"))
    found = {}
    for node in tree.body:
        targets = getattr(node, "targets", [])
        for name in [getattr(node, "name", None), *(getattr(own, "id", None) for own in targets)]:
            found[name] = node
    return found


@cache
def words(place, test):
    """Words of a test and of the constants, helpers and fixtures that it uses."""
    there, used, left = module(place), set(), [f"test_{test}"]
    while left:
        name = left.pop()
        used.add(name)
        for node in ast.walk(there[name]):
            other = getattr(node, "id", None) or getattr(node, "arg", None)
            if other in there and other not in used:
                left.append(other)
    return set(re.findall(r"[\w-]+", "\n".join(ast.unparse(there[name]) for name in used)))


@pytest.mark.parametrize("verb", EXERCISED)
def test_the_tests_hold_what_the_table_says(verb):
    for test, options in EXERCISED[verb].items():
        needed = {*verb.split(), *(name for name in options.split() if name.startswith("-"))}
        assert needed <= words(*test.split(".")), test


@pytest.mark.parametrize("number", ["1.7", "2.5", "1e2", "true", "٣", " 3", "9" * 30, ""])
def test_whole_numbers_are_whole(number, command, tmp_path):
    file = tmp_path / "battles.csv"
    file.write_text("a,b,winner\nx,y,x\ny,x,y\n")
    code, said = command("rank", file, "--seed", number)
    assert code == 2
    assert "no whole number" in said.err


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[rank\n", "not a TOML file"),
        ("rank = 3\n", "must be a mapping"),
        ("[rank]\nseed = 1.7\n", "'1.7' is no whole number"),
        ("[rank]\nlevel = 1e400\n", "Must be < 1"),
        ("[rank]\nnosuch = 1\n", "nosuch"),
        ("[nosuch]\nlevel = 0.9\n", "has 'nosuch'"),
        ("rank = " + "[" * 100_000, "nested too deep"),
        ("", "the file is empty"),
    ],
)
def test_configurations_that_are_none_are_one_line(content, told, command, tmp_path):
    file, config = tmp_path / "battles.csv", tmp_path / "options.toml"
    file.write_text("a,b,winner\nx,y,x\ny,x,y\n")
    config.write_text(content)
    code, said = command("rank", file, "--config", config)
    assert code == 2
    assert told in said.err
    assert "options.toml" in said.err
    assert len(said.err.splitlines()) == 1


def test_no_name_of_a_yaml_configuration_stands_twice(command, tmp_path):
    file, config = tmp_path / "battles.csv", tmp_path / "options.yaml"
    file.write_text("a,b,winner\nx,y,x\ny,x,y\n")
    config.write_text("rank: {level: 0.8, level: 0.9}\n")
    assert "'level' stands twice" in command("rank", file, "--config", config)[1].err
    config.write_text("rank: {1: 2}\n")
    assert "1 is no name" in command("rank", file, "--config", config)[1].err
