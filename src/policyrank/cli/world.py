"""``policyrank world``: simulate the policies of a world and rank them."""

from __future__ import annotations

import csv as csv_module
import sys
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from policyrank.cli import common as c
from policyrank.errors import EvidenceError
from policyrank.evidence import Scores

world = typer.Typer(
    help="Simulate policies in a world, and rank them.", no_args_is_help=True, rich_markup_mode=None
)

MODEL = "The world"
Seed = Annotated[int, typer.Option(help="Seed of everything that is drawn.", rich_help_panel=MODEL)]
Out = Annotated[
    Path | None,
    typer.Option(help="Write the scores: .csv, .parquet or .jsonl.", rich_help_panel=c.OUT),
]
Plot = Annotated[
    Path | None, typer.Option(help="Write a plot: .png, .svg or .pdf.", rich_help_panel=c.OUT)
]


def board_of(scores: Scores) -> Any:
    """Ranked by the mean over tasks; intervals from the replicates, which are the same fortune for
    all.
    """
    from policyrank.ranking import aggregate

    return aggregate(scores, resample="replicates", paired=True)


def ranked_live(growing: Iterable[Scores], title: str) -> tuple[Scores, Any]:
    """The last evidence and its board; on a terminal the board is redrawn as evidence comes in."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from policyrank.board import terminal

    console = Console()
    if not console.is_terminal:
        *_, final = growing
        return final, board_of(final)
    last: Scores | None = None
    board: Any = None
    with Live(
        Text(f"{title}: simulating ..."), console=console, transient=True, auto_refresh=False
    ) as live:
        for last in growing:
            board = board_of(last)
            live.update(
                Text.from_ansi(
                    f"{title}, {len(last.task.names)} so far\n{terminal.text(board, colour=True)}"
                ),
                refresh=True,
            )
    assert last is not None
    return last, board


def finish(
    scores: Scores,
    board: Any,
    *,
    out: Path | None,
    html: Path | None,
    plot: Path | None,
    json: bool,
    csv: bool,
    markdown: bool,
    title: str,
) -> None:
    """Write what was asked for, print the board."""
    from policyrank.cli.rank import emit

    if out is not None:
        scores.write(out)
        c.written(out)
    if html is not None:
        board.to_html(
            html, evidence=scores, title=title, command="policyrank " + " ".join(sys.argv[1:])
        )
        c.written(html)
    if plot is not None:
        board.plot(plot, title=title)
        c.written(plot)
    emit(board, json=json, csv=csv, markdown=markdown, top=None)


def _controllers(names: list[str] | None, networks: dict[str, Any]) -> dict[str, Any]:
    from policyrank.worlds import inventory as inv

    known = {**inv.HEURISTICS, **inv.PLANS}
    found: dict[str, Any] = {}
    for name in names or list(inv.HEURISTICS):
        if name in known:
            found[name] = known[name]
        elif Path(name).is_file():
            from policyrank.train.control import LearnedController

            if len(networks) != 1:
                raise EvidenceError(
                    f"{name}: a trained controller runs on the network it was trained on. Name that"
                    " one with --network."
                )
            learned = LearnedController.load(name, next(iter(networks.values())))
            found[Path(name).stem] = (learned, learned.information)
        else:
            raise EvidenceError(
                f"--controller {name}: neither a file of `policyrank train controller` nor one of"
                f" {', '.join(known)}."
            )
    return found


def series_of(path: Path | None) -> tuple[float, ...] | None:
    """The first column with numbers of a CSV file."""
    if path is None:
        return None
    if not path.is_file():
        raise EvidenceError(f"{path}: no such file.")
    rows = [r for r in csv_module.reader(path.read_text().splitlines()) if r]
    for column in range(len(rows[0]) if rows else 0):
        for skip in (0, 1):
            try:
                return tuple(float(r[column]) for r in rows[skip:])
            except (ValueError, IndexError):
                continue
    raise EvidenceError(f"{path}: no column with a number in each row.")


@world.command()
def inventory(
    network: Annotated[
        list[str] | None,
        typer.Option(
            help="base, serial, divergent, or a TOML file of your own (see the docs); repeatable.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    regime: Annotated[
        list[str] | None,
        typer.Option(
            help=(
                "Demand: stationary, trend, seasonal, shock, trend+seasonal, trend+seasonal+shock;"
                " repeatable."
            ),
            rich_help_panel=MODEL,
        ),
    ] = None,
    unmet: Annotated[
        str,
        typer.Option(
            help="What becomes of unmet demand: backlog, lost or both.", rich_help_panel=MODEL
        ),
    ] = "both",
    goodwill: Annotated[
        str,
        typer.Option(
            help="Whether demand follows service: no, yes or both.", rich_help_panel=MODEL
        ),
    ] = "no",
    series: Annotated[
        Path | None,
        typer.Option(
            help="CSV file with your demand, a row a period, instead of the mean of 20.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    noise: Annotated[
        float,
        typer.Option(help="Factor of the Poisson noise; 0: none.", min=0, rich_help_panel=MODEL),
    ] = 1.0,
    periods: Annotated[
        int, typer.Option(help="Length of an episode.", min=1, rich_help_panel=MODEL)
    ] = 30,
    grid: Annotated[
        bool,
        typer.Option(
            "--core-grid",
            help="The published scenarios instead: 2 networks, 20 scenarios, with --series 22.",
            rich_help_panel=MODEL,
        ),
    ] = False,
    controller: Annotated[
        list[str] | None,
        typer.Option(
            help=(
                "A heuristic or plan (see the docs), or a file of `policyrank train controller`;"
                " repeatable. Default: all heuristics."
            ),
            rich_help_panel=c.METHOD,
        ),
    ] = None,
    episodes: Annotated[
        int,
        typer.Option(
            help="Of each scenario; the same customers for every controller.",
            min=2,
            rich_help_panel=MODEL,
        ),
    ] = 100,
    kpi: Annotated[
        str,
        typer.Option(
            help=(
                "What counts: 'share of the oracle's profit', profit, fill rate, service level,"
                " bullwhip, inventory, unmet."
            ),
            rich_help_panel=c.METHOD,
        ),
    ] = "share of the oracle's profit",
    seed: Seed = 0,
    out: Out = None,
    html: c.Html = None,
    plot: Plot = None,
    json: c.Json = False,
    csv: c.Csv = False,
    markdown: c.Markdown = False,
) -> None:
    """Rank inventory controllers over scenarios.

    Examples:

      policyrank world inventory --network serial --regime trend+seasonal --html inventory.html

      policyrank world inventory --core-grid --controller newsvendor --controller DLP-I --episodes
      20
    """
    from policyrank.worlds import inventory as inv

    c.check_writable(out, html, plot)
    for name, value, allowed in (
        ("unmet", unmet, ("backlog", "lost", "both")),
        ("goodwill", goodwill, ("no", "yes", "both")),
    ):
        if value not in allowed:
            raise EvidenceError(f"--{name} {value}: use {', '.join(allowed)}.")
    own = series_of(series)
    if grid and any(n not in inv.NETWORKS for n in network or []):
        raise EvidenceError(f"--core-grid has the networks {', '.join(inv.NETWORKS)}.")
    if grid:
        scenarios = inv.core_grid(own, network or ("base", "serial"))
    else:
        demand: dict[str, Any] = {"noise": noise} | ({} if own is None else {"series": own})
        made = [
            inv.scenario(n, r, backlog=b, goodwill=g, periods=periods, **demand)
            for n, r, b, g in product(
                network or ["serial"],
                regime or ["stationary"],
                {"backlog": [True], "lost": [False]}.get(unmet, [True, False]),
                {"no": [False], "yes": [True]}.get(goodwill, [False, True]),
            )
        ]
        scenarios = {s.name: s for s in made}
    controllers = _controllers(
        controller, {s.name.split(",")[0]: s.network for s in scenarios.values()}
    )
    title = (
        f"{len(controllers)} controllers on {len(scenarios)} scenarios, {episodes} episodes each"
    )
    with c.working("Simulating …") as update:
        growing = inv.growing_evidence(
            scenarios, controllers, range(seed, seed + episodes), kpi=kpi, report=update
        )
        *_, scores = growing
        board = board_of(scores)
    finish(
        scores,
        board,
        out=out,
        html=html,
        plot=plot,
        json=json,
        csv=csv,
        markdown=markdown,
        title=title,
    )


def _rows(path: Path, columns: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """Names, and a number in the last column."""
    return [
        (*map(str, row[:-1]), float(row[-1]))
        for row in c.table(path, columns).select(columns).rows()
    ]


def _interventions(path: Path) -> list[Any]:
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
        zz = {tuple(pair.split(" ", 1)): float(v) for pair, v in parts.get("zz", {}).items()}
        if bad := [pair for pair in zz if len(pair) != 2]:
            raise EvidenceError(
                f"{path}: [{name!r}] zz has {bad[0][0]!r}: write 'node node' = strength."
            )
        found.append(
            Intervention(
                name, parts.get("z", {}), zz, parts.get("x", {}), float(parts.get("cost", 0.0))
            )
        )
    return found


@world.command()
def supply(
    nodes: Annotated[
        Path,
        typer.Option(
            help="CSV with node and h, the strength with which it prefers stable.",
            rich_help_panel=MODEL,
        ),
    ],
    edges: Annotated[
        Path, typer.Option(help="CSV with source, target and J.", rich_help_panel=MODEL)
    ],
    interventions: Annotated[
        Path,
        typer.Option(
            help="TOML: [name] with z, zz, x (node = strength) and cost.", rich_help_panel=MODEL
        ),
    ],
    shock: Annotated[
        list[str] | None,
        typer.Option(
            help="NODE=STRENGTH of a transverse field; repeatable.", rich_help_panel=MODEL
        ),
    ] = None,
    failed: Annotated[
        list[str] | None,
        typer.Option(help="Node that is known to be stressed; repeatable.", rich_help_panel=MODEL),
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="T of the Boltzmann distribution.", rich_help_panel=MODEL)
    ] = 1.0,
    by: Annotated[
        str,
        typer.Option(
            help=(
                "mean stress, tail, ground energy, free energy, ground stress, first order, first"
                " order at T, second order."
            ),
            rich_help_panel=c.METHOD,
        ),
    ] = "mean stress",
    at_least: Annotated[
        int | None,
        typer.Option(
            help="Of tail: how many stressed nodes are a catastrophe (half of them).",
            min=1,
            rich_help_panel=c.METHOD,
        ),
    ] = None,
    spread: Annotated[
        float,
        typer.Option(help="Relative uncertainty of every weight.", min=0, rich_help_panel=c.UNSURE),
    ] = 0.2,
    runs: Annotated[
        int, typer.Option(help="Draws of the weights.", min=2, rich_help_panel=c.UNSURE)
    ] = 100,
    convention: Annotated[
        str,
        typer.Option(
            help="stable: nodes at rest prefer stable; paper: the printed sign.",
            rich_help_panel=MODEL,
        ),
    ] = "stable",
    seed: Seed = 0,
    out: Out = None,
    html: c.Html = None,
    plot: Plot = None,
    json: c.Json = False,
    csv: c.Csv = False,
    markdown: c.Markdown = False,
) -> None:
    """Rank interventions on a supply network by the stress that they take away, exactly, over the
    uncertainty of its weights.

    Example:

      policyrank world supply --nodes nodes.csv --edges edges.csv --interventions plans.toml --shock
      0=1.5
    """
    from policyrank.cli.rank import _number, _split
    from policyrank.worlds import supply as s

    c.check_writable(out, html, plot)
    shocks = {
        name: _number(v, "--shock") for name, v in (_split(x, "--shock") for x in shock or [])
    }
    network = s.SupplyNetwork.of(
        dict(_rows(nodes, ("node", "h"))),
        _rows(edges, ("source", "target", "J")),
        shocks,  # type: ignore[arg-type]
        convention=convention,  # type: ignore[arg-type]
    )
    if failed:
        network = network.given(dict.fromkeys(failed, 1))
    plans = [s.Intervention("no intervention"), *_interventions(interventions)]
    options: dict[str, Any] = {"temperature": temperature} | (
        {"at_least": at_least} if by == "tail" else {}
    )
    with c.working("Solving …") as update:
        stress = network.stress(temperature)
        count = network.failures(temperature)
        tail = s.independent(stress)
        half = (len(network) + 1) // 2
        c.say(
            f"{len(network)} nodes, width {network.width}: {stress.mean():.1%} stressed on average;"
            f" P(at least {half} stressed) {count[half:].sum():.3g}, {tail[half:].sum():.3g} if"
            " nodes were independent"
        )
        scores = s.evidence(
            {"network": network},
            plans,
            by,  # type: ignore[arg-type]
            spread=spread,
            runs=runs,
            seed=seed,
            report=update,
            **options,
        )
        board = board_of(scores)
    finish(
        scores,
        board,
        out=out,
        html=html,
        plot=plot,
        json=json,
        csv=csv,
        markdown=markdown,
        title=f"Interventions by {by}",
    )


def _instance(path: Path) -> Any:
    from policyrank.worlds import matching as m

    frame = c.table(path, ("offline", "arrival", "chance"))
    offline, arrival = (
        frame[k].unique(maintain_order=True).to_list() for k in ("offline", "arrival")
    )
    p = np.zeros((len(offline), len(arrival)))
    place = (
        [offline.index(x) for x in frame["offline"]],
        [arrival.index(x) for x in frame["arrival"]],
    )
    p[place] = frame["chance"].to_numpy()
    weights = None
    if "weight" in frame.columns:
        weights = np.ones(len(offline))
        weights[place[0]] = frame["weight"].to_numpy()
    return m.Matching.of(p, weights)


@world.command()
def matching(
    instance: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE]...",
            help=(
                "CSV with offline, arrival (in order), chance and perhaps weight of the offline"
                " vertex."
            ),
        ),
    ] = None,
    triangle: Annotated[
        list[int] | None,
        typer.Option(
            help="Thick triangle of so many types, 50 arrivals each; repeatable.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    random: Annotated[
        list[str] | None,
        typer.Option(
            help="OFFLINExARRIVALS: random graph of degree 4; repeatable.", rich_help_panel=MODEL
        ),
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            help="balance, least load, ranking, greedy, random, last; repeatable. Default: all.",
            rich_help_panel=c.METHOD,
        ),
    ] = None,
    bound: Annotated[
        str,
        typer.Option(
            help=(
                "What values are divided by: stochastic configuration, configuration, matching,"
                " optimum (few vertices), none."
            ),
            rich_help_panel=c.METHOD,
        ),
    ] = "stochastic configuration",
    runs: Annotated[
        int,
        typer.Option(
            help="Simulated runs, the same fortune for every rule.", min=2, rich_help_panel=MODEL
        ),
    ] = 500,
    seed: Seed = 0,
    out: Out = None,
    html: c.Html = None,
    plot: Plot = None,
    json: c.Json = False,
    csv: c.Csv = False,
    markdown: c.Markdown = False,
) -> None:
    """Rank rules that match arrivals when a match may fail.

    Examples:

      policyrank world matching --triangle 20 --random 300x1500

      policyrank world matching ads.csv --rule balance --rule greedy
    """
    from policyrank.worlds import matching as m

    c.check_writable(out, html, plot)
    given = {str(path): _instance(path) for path in instance or []}
    given |= {f"triangle {n}": m.upper_triangular(n) for n in triangle or []}
    for text in random or []:
        sizes = text.split("x")
        if len(sizes) != 2 or not all(x.isdigit() and int(x) > 0 for x in sizes):
            raise EvidenceError(f"--random {text}: write OFFLINExARRIVALS, such as 300x1500.")
        given[f"random {text}"] = m.random_bipartite(
            int(sizes[0]), int(sizes[1]), degree=4, seed=seed
        )
    given = given or {"triangle 20": m.upper_triangular(20)}
    with c.working("Simulating …") as update:
        scores = m.evidence(given, rule or tuple(m.RULES), runs=runs, seed=seed)
        if bound != "none":
            most = {}
            for name, x in given.items():
                update(f"Bounding {name} …")
                most[name] = m.bound(x, bound, 1e-4)  # type: ignore[arg-type]
                c.say(f"{name}: no rule can reach more than {most[name]:.6g} ({bound})")
            frame = scores.to_frame()
            share = frame["score"].to_numpy() / np.array([most[t] for t in frame["task"]])
            scores = Scores.of(frame["policy"], frame["task"], share, replicate=frame["replicate"])
        board = board_of(scores)
    finish(
        scores,
        board,
        out=out,
        html=html,
        plot=plot,
        json=json,
        csv=csv,
        markdown=markdown,
        title=f"Online matching, {'value' if bound == 'none' else f'share of the {bound} bound'}",
    )


@world.command()
def exposure(
    claims: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CLAIMS]",
            help=(
                "CSV with claim, label (1: true, 0: false) and perhaps credibility in [0, 1],"
                " group. Default: those of the package openfactcheck."
            ),
        ),
    ] = None,
    framing: Annotated[
        str,
        typer.Option(
            help=(
                "That sways the people: authoritative, consensus, emotional, prestige,"
                " sensationalist."
            ),
            rich_help_panel=MODEL,
        ),
    ] = "authoritative",
    alpha: Annotated[
        float,
        typer.Option(
            help="Weight of false claims in it when the people are trained; 1: not swayed.",
            min=0,
            max=1,
            rich_help_panel=MODEL,
        ),
    ] = 0.3,
    people: Annotated[int, typer.Option(help="How many.", min=2, rich_help_panel=MODEL)] = 1000,
    spread: Annotated[
        float,
        typer.Option(
            help="Of their readiness to accept, in log-odds.", min=0, rich_help_panel=MODEL
        ),
    ] = 0.5,
    steps: Annotated[
        int, typer.Option(help="Claims that each is shown.", min=1, rich_help_panel=MODEL)
    ] = 100,
    encoder: Annotated[
        str,
        typer.Option(
            help="Sentence encoder: minilm, a folder or a hub name.", rich_help_panel=MODEL
        ),
    ] = "minilm",
    policy: Annotated[
        list[str] | None,
        typer.Option(help="Ranking policy; repeatable. Default: all.", rich_help_panel=c.METHOD),
    ] = None,
    metric: Annotated[
        str,
        typer.Option(
            help="information health, accuracy, false shown, false accepted, longest false run.",
            rich_help_panel=c.METHOD,
        ),
    ] = "information health",
    seed: Seed = 0,
    out: Out = None,
    html: c.Html = None,
    plot: Plot = None,
    json: c.Json = False,
    csv: c.Csv = False,
    markdown: c.Markdown = False,
) -> None:
    """Rank ranking policies by what they do to people who are shown claims for long.

    People are logistic regressions on sentence vectors, trained on half of the claims, once as they
    are and once swayed by a framing; they see the other half.

    Example:

      policyrank world exposure --framing sensationalist --alpha 0.1 --html exposure.html
    """
    import polars as pl

    from policyrank.models.encoders import encode_texts, load_encoder
    from policyrank.train import personas
    from policyrank.worlds import exposure as x

    c.check_writable(out, html, plot)
    if unknown := [p for p in policy or [] if p not in x.POLICIES]:
        raise EvidenceError(f"--policy {unknown[0]}: use {', '.join(x.POLICIES)}.")
    credibility = None
    if claims is None:
        given = x.openfactcheck()
    else:
        frame = c.table(claims, ("claim", "label"))
        groups = (
            frame["group"].cast(pl.String).rank("dense").to_numpy()
            if "group" in frame.columns
            else None
        )
        given = x.Claims.of(
            frame["claim"].to_list(), frame["label"].cast(pl.Int64).to_numpy(), groups=groups
        )
        credibility = frame["credibility"].to_numpy() if "credibility" in frame.columns else None
    f = len(given.framings)
    with c.working("Encoding claims …") as update:
        vectors = encode_texts(load_encoder(encoder), given.items(), cache=encoder).reshape(
            len(given), f, -1
        )
        train, test = given.split((0.5, 0.5), seed)
        learn, rest = given.take(train), given.take(test)
        shown = x.World.of(
            rest.true,
            vectors[test, 0],
            rest.framings,
            credibility=None if credibility is None else credibility[test],
        )
        worlds = {}
        for name, own in (("not swayed", 1.0), (f"swayed by the {framing} framing", alpha)):
            update(f"Training people who are {name} …")
            persona = personas.linear_persona(
                vectors[train].reshape(len(train) * f, -1), learn, framing, own
            )
            accept = persona(vectors[test].reshape(len(test) * f, -1))
            worlds[name] = (shown, x.Personas.of(accept, people, f, spread=spread, seed=seed))
        chosen = {k: v for k, v in x.POLICIES.items() if not policy or k in policy}
        scores = x.evidence(worlds, chosen, steps=steps, metrics=[metric], seed=seed, report=update)
        board = board_of(scores)
    finish(
        scores,
        board,
        out=out,
        html=html,
        plot=plot,
        json=json,
        csv=csv,
        markdown=markdown,
        title=f"Ranking policies by {metric}, {people} people, {steps} steps",
    )
