"""``policyrank world``: simulate the policies of a world and rank them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from policyrank.cli.options import (
    METHOD,
    MODEL,
    UNSURE,
    AtLeastOne,
    AtLeastTwo,
    Flag,
    Names,
    NotNegative,
    Printed,
    Scores,
    Seed,
    Share,
    Written,
    check_writable,
    numbers,
)
from policyrank.cli.output import print_board, say, table_of, working, write_board, wrote
from policyrank.errors import EvidenceError

if TYPE_CHECKING:
    from policyrank import evidence
    from policyrank.board import Leaderboard
    from policyrank.worlds.matching import Matching
    from policyrank.worlds.supply import Intervention, SupplyNetwork

WorldSeed = Annotated[Seed, Parameter(group=MODEL)]
UNMET = {"backlog": [True], "lost": [False], "both": [True, False]}
GOODWILL = {"no": [False], "yes": [True], "both": [False, True]}


def board_of(scores: evidence.Scores) -> Leaderboard:
    """Ranked by the mean over tasks; intervals from the replicates, the same fortune for all."""
    from policyrank.ranking import aggregate

    return aggregate(scores, resample="replicates", paired=True)


def ranked_live(
    growing: Iterable[evidence.Scores], title: str
) -> tuple[evidence.Scores, Leaderboard]:
    """The last evidence and its board; on a terminal the board is redrawn as evidence comes in."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from policyrank.board import text

    console = Console()
    if not console.is_terminal:
        *_, scores = growing
        return scores, board_of(scores)
    start = Text(f"{title}: simulating ...")
    with Live(start, console=console, transient=True, auto_refresh=False) as live:
        for scores in growing:
            board = board_of(scores)
            heading = f"{title}, {len(scores.task.names)} so far"
            live.update(Text.from_ansi(f"{heading}\n{text(board, colour=True)}"), refresh=True)
    return scores, board


def finish(
    scores: evidence.Scores,
    board: Leaderboard,
    title: str,
    *,
    out: Path | None,
    written: Written,
    printed: Printed,
) -> None:
    """Write what was asked for, print the board."""
    if out is not None:
        scores.write(out)
        wrote(out)
    write_board(board, written, title=title, evidence=scores)
    print_board(board, printed)


def rank_inventory(
    *,
    network: Annotated[Names, Parameter(group=MODEL)] = None,
    regime: Annotated[Names, Parameter(group=MODEL)] = None,
    unmet: Annotated[Literal["backlog", "lost", "both"], Parameter(group=MODEL)] = "both",
    goodwill: Annotated[Literal["no", "yes", "both"], Parameter(group=MODEL)] = "no",
    series: Annotated[Path | None, Parameter(group=MODEL)] = None,
    noise: Annotated[NotNegative, Parameter(group=MODEL)] = 1.0,
    periods: Annotated[AtLeastOne, Parameter(group=MODEL)] = 30,
    core_grid: Annotated[Flag, Parameter(group=MODEL)] = False,
    controller: Annotated[Names, Parameter(group=METHOD)] = None,
    episodes: Annotated[AtLeastTwo, Parameter(group=MODEL)] = 100,
    kpi: Annotated[str, Parameter(group=METHOD)] = "share of the oracle's profit",
    seed: WorldSeed = 0,
    out: Scores = None,
    written: Written = Written(),
    printed: Printed = Printed(),
) -> None:
    """Rank inventory controllers over scenarios.

    Examples:

      policyrank world inventory --network serial --regime trend+seasonal --html inventory.html

      policyrank world inventory --core-grid --controller newsvendor --episodes 20

    Parameters
    ----------
    network
        base, serial, divergent, or a TOML file of your own (see the docs); repeatable.
    regime
        Demand: stationary, trend, seasonal, shock, trend+seasonal, trend+seasonal+shock;
        repeatable.
    unmet
        What becomes of unmet demand.
    goodwill
        Whether demand follows service.
    series
        CSV file with your demand, a row a period, instead of the mean of 20.
    noise
        Factor of the Poisson noise; 0: none.
    periods
        Length of an episode.
    core_grid
        The published scenarios instead: 2 networks, 20 scenarios, with --series 22.
    controller
        A heuristic or plan (see the docs), or a file of `policyrank train controller`; repeatable.
        Default: all heuristics.
    episodes
        Of each scenario; the same customers for every controller.
    kpi
        What counts: 'share of the oracle's profit', profit, fill rate, service level, bullwhip,
        inventory, unmet.
    """
    check_writable(out)
    own = series_of(series)
    from policyrank.worlds import inventory as inv

    if core_grid:
        strange = set(network or []) - set(inv.NETWORKS)
        if strange:
            raise EvidenceError(f"--core-grid has the networks {', '.join(inv.NETWORKS)}.")
        scenarios = inv.core_grid(own, network or ("base", "serial"))
    else:
        demand: dict[str, Any] = {"noise": noise}
        if own is not None:
            demand["series"] = own
        networks, regimes = network or ["serial"], regime or ["stationary"]
        scenarios = {}
        for where, when, backlog, kind in product(
            networks, regimes, UNMET[unmet], GOODWILL[goodwill]
        ):
            made = inv.scenario(
                where, when, backlog=backlog, goodwill=kind, periods=periods, **demand
            )
            scenarios[made.name] = made
    used = {scenario.name.split(",")[0]: scenario.network for scenario in scenarios.values()}
    controllers = _controllers(controller, used)
    title = (
        f"{len(controllers)} controllers on {len(scenarios)} scenarios, {episodes} episodes each"
    )
    with working("Simulating …") as update:
        *_, scores = inv.growing_evidence(
            scenarios, controllers, range(seed, seed + episodes), kpi=kpi, report=update
        )
        board = board_of(scores)
    finish(scores, board, title, out=out, written=written, printed=printed)


def _controllers(names: Names, networks: dict[str, Any]) -> dict[str, Any]:
    """Heuristics and plans by name, trained controllers by file."""
    from policyrank.worlds import inventory as inv

    known = {**inv.HEURISTICS, **inv.PLANS}
    found: dict[str, Any] = {}
    for name in names or list(inv.HEURISTICS):
        if name in known:
            found[name] = known[name]
            continue
        if not Path(name).is_file():
            raise EvidenceError(
                f"--controller {name}: neither a file of `policyrank train controller` nor one of"
                f" {', '.join(known)}."
            )
        if len(networks) != 1:
            raise EvidenceError(
                f"{name}: a trained controller runs on the network it was trained on. Name that one"
                " with --network."
            )
        from policyrank.train.control import LearnedController

        (network,) = networks.values()
        learned = LearnedController.load(name, network)
        found[Path(name).stem] = (learned, learned.information)
    return found


def series_of(path: Path | None) -> tuple[float, ...] | None:
    """The first column with numbers of a CSV file, with a heading or without."""
    import csv

    if path is None:
        return None
    if not path.is_file():
        raise EvidenceError(f"{path}: no such file.")
    rows = [row for row in csv.reader(path.read_text().splitlines()) if row]
    for column in range(len(rows[0]) if rows else 0):
        for skip in (0, 1):
            try:
                return tuple(float(row[column]) for row in rows[skip:])
            except (ValueError, IndexError):
                continue
    raise EvidenceError(f"{path}: no column with a number in each row.")


def rank_supply(
    *,
    nodes: Annotated[Path, Parameter(group=MODEL)],
    edges: Annotated[Path, Parameter(group=MODEL)],
    interventions: Annotated[Path, Parameter(group=MODEL)],
    shock: Annotated[Names, Parameter(group=MODEL)] = None,
    failed: Annotated[Names, Parameter(group=MODEL)] = None,
    temperature: Annotated[float, Parameter(group=MODEL)] = 1.0,
    convention: Annotated[Literal["stable", "paper"], Parameter(group=MODEL)] = "stable",
    by: Annotated[
        Literal[
            "mean stress",
            "tail",
            "ground energy",
            "free energy",
            "ground stress",
            "first order",
            "first order at T",
            "second order",
        ],
        Parameter(group=METHOD),
    ] = "mean stress",
    at_least: Annotated[AtLeastOne | None, Parameter(group=METHOD)] = None,
    spread: Annotated[NotNegative, Parameter(group=UNSURE)] = 0.2,
    runs: Annotated[AtLeastTwo, Parameter(group=UNSURE)] = 100,
    seed: WorldSeed = 0,
    out: Scores = None,
    written: Written = Written(),
    printed: Printed = Printed(),
) -> None:
    """Rank interventions on a supply network.

    By the stress that they take away, exactly, over the uncertainty of its weights.

    Example:

      policyrank world supply --nodes nodes.csv --edges edges.csv --interventions plans.toml

    Parameters
    ----------
    nodes
        CSV with node and h, the strength with which it prefers stable.
    edges
        CSV with source, target and J.
    interventions
        TOML: [name] with z, zz, x (node = strength) and cost.
    shock
        NODE=STRENGTH of a transverse field; repeatable.
    failed
        Node that is known to be stressed; repeatable.
    temperature
        T of the Boltzmann distribution.
    convention
        stable: nodes at rest prefer stable; paper: the printed sign.
    by
        What is taken away.
    at_least
        Of tail: how many stressed nodes are a catastrophe (half of them).
    spread
        Relative uncertainty of every weight.
    runs
        Draws of the weights.
    """
    check_writable(out)
    shocks: Mapping[Any, float] = numbers(shock, "--shock")
    from policyrank.worlds import supply as s

    network = s.SupplyNetwork.of(
        dict(_weights(nodes, ("node", "h"))),
        _weights(edges, ("source", "target", "J")),
        shocks,
        convention=convention,
    )
    if failed:
        network = network.given(dict.fromkeys(failed, 1))
    plans = [s.Intervention("no intervention"), *_interventions(interventions)]
    options: dict[str, Any] = {"temperature": temperature}
    if by == "tail":
        options["at_least"] = at_least
    with working("Solving …") as update:
        _tell_stress(network, temperature)
        scores = s.evidence(
            {"network": network},
            plans,
            by,
            spread=spread,
            runs=runs,
            seed=seed,
            report=update,
            **options,
        )
        board = board_of(scores)
    title = f"Interventions by {by}"
    finish(scores, board, title, out=out, written=written, printed=printed)


def _tell_stress(network: SupplyNetwork, temperature: float) -> None:
    """How stressed the network is, and how much of the tail its links make."""
    from policyrank.worlds.supply import independent

    stress = network.stress(temperature)
    half = (len(network) + 1) // 2
    tail = network.failures(temperature)[half:].sum()
    alone = independent(stress)[half:].sum()
    say(
        f"{len(network)} nodes, width {network.width}: {stress.mean():.1%} stressed on average;"
        f" P(at least {half} stressed) {tail:.3g}, {alone:.3g} if nodes were independent"
    )


def _weights(path: Path, columns: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """Names, and a number in the last column."""
    rows = table_of(path, columns).select(columns).rows()
    return [(*map(str, names), float(weight)) for *names, weight in rows]


def _interventions(path: Path) -> list[Intervention]:
    import tomllib

    from policyrank.worlds.supply import Intervention

    try:
        given = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise EvidenceError(f"{path}: {error}.") from error
    found = []
    for name, parts in given.items():
        if not isinstance(parts, dict) or set(parts) - {"z", "zz", "x", "cost"}:
            raise EvidenceError(
                f"{path}: [{name!r}] has z, zz, x (tables of node = strength) and cost."
            )
        pairs = {}
        for text, strength in parts.get("zz", {}).items():
            first, space, second = text.partition(" ")
            if not space:
                raise EvidenceError(
                    f"{path}: [{name!r}] zz has {text!r}: write 'node node' = strength."
                )
            pairs[first, second] = float(strength)
        cost = float(parts.get("cost", 0.0))
        found.append(Intervention(name, parts.get("z", {}), pairs, parts.get("x", {}), cost))
    return found


def rank_matching(
    *instances: Path,
    triangle: Annotated[list[int] | None, Parameter(group=MODEL)] = None,
    random: Annotated[Names, Parameter(group=MODEL)] = None,
    rule: Annotated[Names, Parameter(group=METHOD)] = None,
    bound: Annotated[
        Literal["stochastic configuration", "configuration", "matching", "optimum", "none"],
        Parameter(group=METHOD),
    ] = "stochastic configuration",
    runs: Annotated[AtLeastTwo, Parameter(group=MODEL)] = 500,
    seed: WorldSeed = 0,
    out: Scores = None,
    written: Written = Written(),
    printed: Printed = Printed(),
) -> None:
    """Rank rules that match arrivals when a match may fail.

    Examples:

      policyrank world matching --triangle 20 --random 300x1500

      policyrank world matching ads.csv --rule balance --rule greedy

    Parameters
    ----------
    instances
        CSV with offline, arrival (in order), chance and perhaps weight of the offline vertex.
    triangle
        Thick triangle of so many types, 50 arrivals each; repeatable.
    random
        OFFLINExARRIVALS: random graph of degree 4; repeatable.
    rule
        balance, least load, ranking, greedy, random, last; repeatable. Default: all.
    bound
        What values are divided by; optimum: for few vertices only.
    runs
        Simulated runs, the same fortune for every rule.
    """
    check_writable(out)
    from policyrank.worlds import matching as m

    given = {str(path): _instance(path) for path in instances}
    for types in triangle or []:
        given[f"triangle {types}"] = m.upper_triangular(types)
    for text in random or []:
        offline, arrivals = _sizes(text)
        given[f"random {text}"] = m.random_bipartite(offline, arrivals, degree=4, seed=seed)
    if not given:
        given["triangle 20"] = m.upper_triangular(20)
    title = "Online matching, value"
    with working("Simulating …") as update:
        scores = m.evidence(given, rule or tuple(m.RULES), runs=runs, seed=seed)
        if bound != "none":
            title = f"Online matching, share of the {bound} bound"
            most = {}
            for name, instance in given.items():
                update(f"Bounding {name} …")
                most[name] = m.bound(instance, bound, 1e-4)
                say(f"{name}: no rule can reach more than {most[name]:.6g} ({bound})")
            scores = _shares(scores, most)
        board = board_of(scores)
    finish(scores, board, title, out=out, written=written, printed=printed)


def _sizes(text: str) -> tuple[int, int]:
    offline, _, arrivals = text.partition("x")
    for size in (offline, arrivals):
        if not size.isdigit() or int(size) == 0:
            raise EvidenceError(f"--random {text}: write OFFLINExARRIVALS, such as 300x1500.")
    return int(offline), int(arrivals)


def _shares(scores: evidence.Scores, most: dict[str, float]) -> evidence.Scores:
    """Values as shares of what each task's bound allows."""
    import polars as pl

    from policyrank.evidence import Scores

    bound = pl.col("task").replace_strict(most, return_dtype=pl.Float64)
    frame = scores.to_frame().with_columns(pl.col("score") / bound)
    return Scores.of(
        frame["policy"], frame["task"], frame["score"].to_numpy(), replicate=frame["replicate"]
    )


def _instance(path: Path) -> Matching:
    import numpy as np

    from policyrank.worlds.matching import Matching

    frame = table_of(path, ("offline", "arrival", "chance"))
    offline = frame["offline"].unique(maintain_order=True).to_list()
    arrivals = frame["arrival"].unique(maintain_order=True).to_list()
    row = [offline.index(name) for name in frame["offline"]]
    column = [arrivals.index(name) for name in frame["arrival"]]
    chance = np.zeros((len(offline), len(arrivals)))
    chance[row, column] = frame["chance"].to_numpy()
    if "weight" not in frame.columns:
        return Matching.of(chance, None)
    weights = np.ones(len(offline))
    weights[row] = frame["weight"].to_numpy()
    return Matching.of(chance, weights)


def rank_exposure(
    claims: Path | None = None,
    /,
    *,
    framing: Annotated[str, Parameter(group=MODEL)] = "authoritative",
    alpha: Annotated[Share, Parameter(group=MODEL)] = 0.3,
    people: Annotated[AtLeastTwo, Parameter(group=MODEL)] = 1000,
    spread: Annotated[NotNegative, Parameter(group=MODEL)] = 0.5,
    steps: Annotated[AtLeastOne, Parameter(group=MODEL)] = 100,
    encoder: Annotated[str, Parameter(group=MODEL)] = "minilm",
    policy: Annotated[Names, Parameter(group=METHOD)] = None,
    metric: Annotated[str, Parameter(group=METHOD)] = "information health",
    seed: WorldSeed = 0,
    out: Scores = None,
    written: Written = Written(),
    printed: Printed = Printed(),
) -> None:
    """Rank ranking policies by what they do to people.

    People are shown claims for long. They are logistic regressions on sentence vectors, trained on
    half of the claims, once as they are and once swayed by a framing; they see the other half.

    Example:

      policyrank world exposure --framing sensationalist --alpha 0.1 --html exposure.html

    Parameters
    ----------
    claims
        CSV with claim, label (1: true, 0: false) and perhaps credibility in [0, 1], group.
        Default: those of the package openfactcheck.
    framing
        That sways the people: authoritative, consensus, emotional, prestige, sensationalist.
    alpha
        Weight of false claims in it when the people are trained; 1: not swayed.
    people
        How many.
    spread
        Of their readiness to accept, in log-odds.
    steps
        Claims that each is shown.
    encoder
        Sentence encoder: minilm, a folder or a hub name.
    policy
        Ranking policy; repeatable. Default: all.
    metric
        information health, accuracy, false shown, false accepted, longest false run.
    """
    check_writable(out)
    from policyrank.models.encoders import encode_texts, load_encoder
    from policyrank.train.personas import linear_persona
    from policyrank.worlds import exposure as x

    chosen = _chosen(policy, x.POLICIES)
    given, credibility = _claims(claims)
    framings = len(given.framings)
    with working("Encoding claims …") as update:
        texts = encode_texts(load_encoder(encoder), given.items(), cache=encoder)
        vectors = texts.reshape(len(given), framings, -1)
        train, test = given.split((0.5, 0.5), seed)
        learn, rest = given.take(train), given.take(test)
        known, unseen = (vectors[part].reshape(len(part) * framings, -1) for part in (train, test))
        credible = None if credibility is None else credibility[test]
        shown = x.World.of(rest.true, vectors[test, 0], rest.framings, credibility=credible)
        worlds = {}
        for name, own in (("not swayed", 1.0), (f"swayed by the {framing} framing", alpha)):
            update(f"Training people who are {name} …")
            accept = linear_persona(known, learn, framing, own)(unseen)
            crowd = x.Personas.of(accept, people, framings, spread=spread, seed=seed)
            worlds[name] = (shown, crowd)
        scores = x.evidence(worlds, chosen, steps=steps, metrics=[metric], seed=seed, report=update)
        board = board_of(scores)
    title = f"Ranking policies by {metric}, {people} people, {steps} steps"
    finish(scores, board, title, out=out, written=written, printed=printed)


def _chosen(names: Names, known: dict[str, Any]) -> dict[str, Any]:
    for name in names or []:
        if name not in known:
            raise EvidenceError(f"--policy {name}: use {', '.join(known)}.")
    return {name: policy for name, policy in known.items() if not names or name in names}


def _claims(path: Path | None) -> tuple[Any, Any]:
    """Claims, and how credible each is where the file says so."""
    from policyrank.worlds import exposure as x

    if path is None:
        return x.openfactcheck(), None
    import polars as pl

    frame = table_of(path, ("claim", "label"))
    groups = credibility = None
    if "group" in frame.columns:
        groups = frame["group"].cast(pl.String).rank("dense").to_numpy()
    if "credibility" in frame.columns:
        credibility = frame["credibility"].to_numpy()
    true = frame["label"].cast(pl.Int64).to_numpy()
    return x.Claims.of(frame["claim"].to_list(), true, groups=groups), credibility
