"""Attacks on rankers: exact values of the measures, an imitation that learns, triggers that lift,
detectors and a defence that work, the command.
"""

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")

from policyrank.auditing import attacks as a
from policyrank.errors import EvidenceError
from policyrank.metrics.overlap import rank_biased_overlap

RNG = np.random.default_rng(0)
WORDS = [f"w{k}" for k in range(120)]
TOPIC = {t: WORDS[10 * t : 10 * t + 10] for t in range(12)}


def documents(n=80):
    out = {}
    for k in range(n):
        rng = np.random.default_rng(k)
        mixed = rng.choice(WORDS, 20).tolist() + rng.choice(TOPIC[k % 12], 10).tolist()
        out[f"d{k}"] = " ".join(rng.permutation(mixed))
    return out


QUERIES = {
    f"q{k}": " ".join(np.random.default_rng(100 + k).choice(TOPIC[k % 12], 4, replace=False))
    for k in range(40)
}


def victim(query, texts):
    """Share of the text's words that are of the query's topic: knows more than exact matches."""
    own = set().union(*(TOPIC[t] for t in TOPIC if set(TOPIC[t]) & set(a.words(query))))
    return np.array(
        [
            np.mean([w in own for w in a.words(t)] or [0.0])
            + 1e-4 * len(set(a.words(t)) & set(a.words(query)))
            for t in texts
        ]
    )


@pytest.fixture(scope="module")
def found():
    torch.set_num_threads(1)
    docs = documents()
    return a.attack(
        victim,
        QUERIES,
        docs,
        {q: list(docs) for q in QUERIES},
        attacked=8,
        targets=3,
        budget=5,
        lists=30,
    )


def test_exact_values():
    rng = np.random.default_rng(0)
    pairs = a.pairs_from_ranking(100, rng=rng)
    assert len(pairs) == 400
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert (pairs[:, 0] < 25).all()
    assert len(np.unique(pairs[300:], axis=0)) == 100
    assert len(a.pairs_from_ranking(10, rng=rng)) == 45
    assert float(a.smoothed_pair_loss(torch.tensor([2.0]), torch.tensor([0.0]))) == pytest.approx(
        0.2269, abs=1e-4
    )
    assert rank_biased_overlap([1, 2, 3], [1, 3, 2], p=0.7, extrapolate=False) == pytest.approx(
        0.552
    )
    assert a.rank_of(3.5, [5, 4, 3, 2]) == 3
    assert a.rank_of(4, [5, 4, 3, 2]) == 3  # ties count against it
    got = a.group_metrics([[50, 10, 30]], [[20, 12, 30]])
    assert got["query success"] == pytest.approx(1 / 3)
    assert got["boost"] == pytest.approx(28 / 3)
    assert (got["QSR@25%"], got["QSR@50%"]) == (1, 0)
    assert a.perturbation_rate(list("abcd"), list("abxcd")) == pytest.approx(0.2)
    assert a.word_cosine(["x", "y"], ["x", "y"]) == pytest.approx(1)
    assert a.word_cosine(["x"], ["y"]) == 0
    assert a.query_share("alpha beta", ["beta", "gamma"]) == 0.5


def test_language_model_is_a_distribution_and_prefers_what_it_has_seen():
    corpus = a.Corpus.of(
        ["the cat sat on the mat", "the cat ran", "the dog sat on the cat"], least=1
    )
    for previous in range(len(corpus.vocabulary)):
        assert np.exp(corpus.next_log_prob(previous)).sum() == pytest.approx(1)
    assert corpus.perplexity(corpus.encode("the cat sat")) < corpus.perplexity(
        corpus.encode("sat the cat")
    )
    vectors = corpus.vectors(4)
    assert vectors.shape == (len(corpus.vocabulary), 4)
    with pytest.raises(EvidenceError, match="no word"):
        a.Corpus.of(["a", "b"])


def test_imitation_and_triggers(found):
    assert found.overlap > found.chance + 0.3
    assert found.calls == 38 * 80 + 8 * 3 * len(a.ATTACKS)
    table = {r["method"]: r for r in found.summary().iter_rows(named=True)}
    assert (
        table["trigger"]["boost"] > table["anchor words"]["boost"] > table["random words"]["boost"]
    )
    assert table["trigger"]["success"] > 0.9
    assert table["query inserted"]["query words"] == 1
    for (method, _, d), text in found.texts.items():
        original = a.words(documents()[d])
        if method == "substitution":
            assert len(a.words(text)) == len(original)
            assert sum(x != y for x, y in zip(a.words(text), original, strict=True)) <= 5
        else:
            assert a.words(text)[-len(original) :] == original
            assert len(a.words(text)) - len(original) <= 5


def test_fluency_is_bought_with_force():
    docs = documents()
    corpus = a.Corpus.of(list(docs.values()))
    model = a.imitate(
        {
            q: np.argsort(-victim(q, list(docs.values())), kind="stable").tolist()
            for q in QUERIES.values()
        },
        corpus,
        epochs=1,
    )
    costs = []
    for weight in (0.0, 3.0):
        words = [
            a.search_trigger(
                a.Attack(
                    QUERIES[q],
                    tuple(a.words(docs["d5"])),
                    corpus.tokens[0],
                    5,
                    model,
                    np.random.default_rng(0),
                ),
                fluency=weight,
            )
            for q in list(QUERIES)[:6]
        ]
        costs.append(np.mean([-corpus.log_prob(corpus.encode(w)).mean() for w in words]))
    assert costs[1] < costs[0] - 0.1


def test_the_same_seed_gives_the_same_attack(found):
    docs = documents()
    again = a.attack(
        victim,
        QUERIES,
        docs,
        {q: list(docs) for q in QUERIES},
        attacked=8,
        targets=3,
        budget=5,
        lists=30,
    )
    assert again.frame.equals(found.frame)


def test_detection_and_defence():
    docs = documents()
    corpus = a.Corpus.of(list(docs.values()))
    query = QUERIES["q0"]
    clean = a.suspicion(corpus, query, a.words(docs["d5"]))
    stuffed = a.suspicion(corpus, query, a.words(f"{query} {query} {docs['d5']}"))
    assert stuffed["density"] > clean["density"]
    assert stuffed["spamicity"] > clean["spamicity"]
    limits = a.thresholds([a.suspicion(corpus, query, a.words(t)) for t in docs.values()], 0.1)
    assert (
        np.mean(
            [
                a.suspicion(corpus, query, a.words(t))["perplexity"] > limits["perplexity"]
                for t in docs.values()
            ]
        )
        <= 0.1
    )

    def reads(q, texts):
        return np.array([float(q in t) for t in texts])

    defended = a.deletion_defence(reads)
    assert reads(query, [f"{query} {docs['d5']}"]) == 1
    assert defended(
        query, [f"{query} {docs['d5']}", " ".join([query, docs["d5"], query])]
    ).tolist() == [0, 1]
    assert defended(query, list(docs.values())).shape == (80,)


def test_what_is_wrong_is_said():
    docs = documents(20)
    lists = {q: list(docs) for q in QUERIES}
    with pytest.raises(EvidenceError, match="no attack is called 'magic'"):
        a.attack(victim, QUERIES, docs, lists, methods=["magic"])
    with pytest.raises(EvidenceError, match="more than 8 candidates"):
        a.attack(victim, QUERIES, docs, {q: ["d0"] for q in QUERIES})
    with pytest.raises(EvidenceError, match="not finite"):
        a.attack(lambda q, t: np.full(len(t), np.nan), QUERIES, docs, lists)
    with pytest.raises(EvidenceError, match="no order to imitate"):
        a.imitate({"q": [0]}, a.Corpus.of(list(docs.values())))


def test_command(tmp_path, command):
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("bm25s")
    docs = {
        f"{t}{k}": f"{t} text number {k} about {t} and more {other}"
        for t in ("dogs", "cats", "rain", "soup")
        for k, other in enumerate(("law", "tax", "sea", "sky"))
    }
    (tmp_path / "q.tsv").write_text(
        "".join(f"{t}\tall about {t}\n" for t in ("dogs", "cats", "rain", "soup"))
    )
    (tmp_path / "d.tsv").write_text("".join(f"{k}\t{v}\n" for k, v in docs.items()))

    options = (
        "--queries",
        tmp_path / "q.tsv",
        "--documents",
        tmp_path / "d.tsv",
        "--targets",
        2,
        "--attacked",
        2,
        "--budget",
        2,
    )
    code, said = command(
        "attack", "minilm", "--kind", "bi-encoder", *options, "--out", tmp_path / "out.csv"
    )
    assert code == 0, said.err
    assert all(m in said.out for m in a.ATTACKS)
    rows = pl.read_csv(tmp_path / "out.csv")
    assert rows.height == 2 * 2 * len(a.ATTACKS)
    assert (
        rows.filter(pl.col("method") == "query inserted")
        .select((pl.col("new") <= pl.col("old")).all())
        .item()
    )
    (tmp_path / "unknown").mkdir()
    code, said = command("attack", tmp_path / "unknown", *options)
    assert code == 1
    assert "--kind" in said.err
    code, said = command("attack", "minilm", "--kind", "cross-encoder", *options)
    assert code == 1
    assert "its head is new, and its scores would be random" in said.err


def test_rewards_and_returns():
    old, new = [50, 10, 30], [20, 12, 30]
    assert a.promote_reward(old, new) == pytest.approx(1 / 3)
    assert a.promote_reward(old, new, "topk", k=20) == pytest.approx(1 / 3)
    assert a.promote_reward(old, new, "score") == pytest.approx(-28 / 3)
    assert a.promote_reward([50], [20], "log-boost") == pytest.approx(np.log(2.5))
    assert a.promote_reward(np.ones((4, 3)), np.ones((4, 3))).shape == (4,)
    assert a.discounted_returns([1, 0, 2]) == pytest.approx([2.9602, 1.98, 2.0])
    with pytest.raises(EvidenceError, match="reward 'nope'"):
        a.promote_reward(old, new, "nope")


def test_topic_attack_lifts_for_the_group_within_its_limits():
    docs = documents()
    corpus = a.Corpus.of(list(docs.values()))
    lists = {
        q: np.argsort(-victim(q, list(docs.values())), kind="stable").tolist()
        for q in QUERIES.values()
    }
    model = a.imitate(lists, corpus, epochs=2)
    own = [q for k, q in enumerate(QUERIES.values()) if k % 12 == 3]
    pages = [corpus.tokens[d] for q in own for d in lists[q][:5]]
    tasks = [
        a.TopicTask(tuple(own), corpus.tokens[d], a.candidate_words(corpus, pages, 10))
        for d in (0, 7, 20)
    ]
    attacker = a.TopicAttack(model, budget=3, least_similarity=0.7)
    drawn = attacker.random(tasks[0], np.random.default_rng(0))
    greedy = attacker.greedy(tasks[0])

    def group(tokens):
        return np.mean([model.scores(q, [tokens])[0] for q in own])

    assert group(greedy) > group(tasks[0].document) + 0.01
    assert group(greedy) >= group(drawn)
    weight = dict(zip(corpus.vocabulary, corpus.idf.tolist(), strict=True))
    for changed in (greedy, drawn):
        assert (
            a.word_cosine(
                [corpus.vocabulary[w] for w in changed],
                [corpus.vocabulary[w] for w in tasks[0].document],
                weight,
            )
            >= 0.7
        )
        assert len(changed) <= len(tasks[0].document) + 3
    one = a.TopicTask((own[0],), tasks[0].document, tasks[0].words)
    assert np.array_equal(
        attacker.greedy(one),
        attacker.greedy(a.TopicTask((own[0], own[0]), one.document, one.words)),
    )  # a group of one is the paired attack
    history = attacker.fit(tasks, updates=25, episodes=4, learning_rate=0.2)
    assert np.mean(history[-5:]) > np.mean(history[:5])
    assert group(attacker.episode(tasks[0])[0]) > group(drawn)
    again = a.TopicAttack(model, budget=3, least_similarity=0.7)
    assert again.fit(tasks, updates=3, episodes=4, learning_rate=0.2) == pytest.approx(history[:3])


def test_groups_of_queries():
    rng = np.random.default_rng(0)
    centres = np.eye(4, 16)
    v = np.repeat(centres, 6, axis=0) + 0.1 * rng.normal(size=(24, 16))
    found = a.group_queries(v / np.linalg.norm(v, axis=1, keepdims=True))
    assert sorted(map(tuple, found)) == [tuple(range(6 * k, 6 * k + 6)) for k in range(4)]


def test_topics_are_attacked_with_what_was_learned_elsewhere():
    docs, names = documents(), list(QUERIES)
    candidates = {q: list(docs) for q in QUERIES}
    groups = {f"g{k}": names[k::6] for k in range(6)}
    options = {"attacked": 2, "targets": 2, "budget": 2, "updates": 3}
    found = a.attack_topics(victim, QUERIES, docs, candidates, groups, **options)
    assert found.frame["group"].n_unique() == 2
    assert set(found.frame["method"]) == set(a.topics.TOPIC_METHODS)
    sizes = {g: len(set(q)) for g, q in groups.items()}
    assert found.frame.height == 5 * 2 * sum(sizes[g] for g in found.frame["group"].unique())
    row = found.frame.row(0, named=True)
    pool = [d for d in docs if d != row["document"]]
    text = found.texts[row["method"], row["group"], row["document"]]
    assert (
        row["new"]
        == 1
        + (
            victim(QUERIES[row["query"]], [docs[d] for d in pool])
            > victim(QUERIES[row["query"]], [text])[0]
        ).sum()
    )
    table = found.summary()
    boost = dict(table.select("method", "boost").iter_rows())
    assert boost["greedy, group"] >= boost["random edits"]
    assert (found.frame.filter(pl.col("method") != "topic words")["similarity"] >= 0.79).all()
    assert a.attack_topics(victim, QUERIES, docs, candidates, groups, **options).frame.equals(
        found.frame
    )
    with pytest.raises(EvidenceError, match="name the query 'none'"):
        a.attack_topics(victim, QUERIES, docs, candidates, {"g": ["none"]})
    with pytest.raises(EvidenceError, match="an attack needs two"):
        a.attack_topics(victim, QUERIES, docs, candidates, {"g": names[:3]})


def test_command_for_topics(tmp_path, command):
    pytest.importorskip("sentence_transformers")
    docs = {
        f"{t}{k}": f"{t} text number {k} about {t} and more {other}"
        for t in ("dogs", "cats", "rain", "soup")
        for k, other in enumerate(("law", "tax", "sea", "sky"))
    }
    asked = {
        f"{t}{k}": f"{word} {t}"
        for t in ("dogs", "cats", "rain", "soup")
        for k, word in enumerate(("all about", "the best", "why"))
    }
    (tmp_path / "q.tsv").write_text("".join(f"{k}\t{v}\n" for k, v in asked.items()))
    (tmp_path / "d.tsv").write_text("".join(f"{k}\t{v}\n" for k, v in docs.items()))
    (tmp_path / "t.tsv").write_text("".join(f"{k[:4]}\t{k}\n" for k in asked))
    options = (
        "attack",
        "minilm",
        "--kind",
        "bi-encoder",
        "--queries",
        tmp_path / "q.tsv",
        "--documents",
        tmp_path / "d.tsv",
        "--topics",
        tmp_path / "t.tsv",
        "--budget",
        2,
    )
    code, said = command(*options, "--attacked", 2, "--out", tmp_path / "out.csv")
    assert code == 0, said.err
    assert all(m in said.out for m in a.topics.TOPIC_METHODS)
    assert pl.read_csv(tmp_path / "out.csv")["text"].null_count() == 0
    (tmp_path / "t.tsv").write_text("dogs dogs0\n")
    code, said = command(*options)
    assert (code, "line 1: write group, a tab" in said.err) == (1, True)
