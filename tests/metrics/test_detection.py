"""Average precision of detectors: the values of the paper's card, pycocotools, lvis, and what the
measures are blind to.
"""

import contextlib
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from generators import scene
from policyrank.errors import EvidenceError
from policyrank.evidence.detections import read_detections, read_ground_truth
from policyrank.metrics.detection import average_precision, detection_ap, gamed, kept


def test_lists_by_hand():
    assert average_precision([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0], 2) == pytest.approx(
        (51 + 50 * 2 / 3) / 101
    )
    assert average_precision([0.9, 0.8], [0, 1], 1) == pytest.approx(0.5)
    assert average_precision([0.9, 0.8, 0.7], [0, 1, 1], 2, [1, 0, 0]) == pytest.approx(1)
    assert average_precision([], [], 1) == 0
    pool = average_precision([0.95, 0.9, 0.8, 0.7, 0.5], [0, 1, 0, 1, 1], 3)
    assert pool == pytest.approx(0.6)
    with pytest.raises(ValueError, match="at least one object"):
        average_precision([0.1], [1], 0)


@pytest.fixture
def coco(data):
    return data("coco100")


def test_published_values(coco):
    found = detection_ap(*coco, budget="fixed").summary()
    expected = {
        "AP": 0.503647,
        "AP50": 0.696973,
        "AP75": 0.571667,
        "APr": 0.481286,
        "APc": 0.521769,
        "APf": 0.494776,
        "AP-Pool": 0.466827,
        "AP-Pool r": 0.373852,
        "AP-Pool c": 0.464849,
        "AP-Pool f": 0.502980,
    }
    assert {k: found[k] for k in expected} == pytest.approx(expected, abs=1e-6)
    for limit, ap in ((1, 0.120555), (3, 0.257470), (5, 0.323149)):
        assert detection_ap(*coco, budget=("image", limit)).summary()["AP"] == pytest.approx(
            ap, abs=1e-6
        )
    assert detection_ap(*coco, budget="none").summary()["AP"] == found["AP"]
    assert detection_ap(*coco, budget="fixed").thin == 80


@pytest.mark.parametrize(
    ("seed", "images", "classes"), [*((k, 12, 4) for k in range(4)), (9, 120, 30)]
)
@pytest.mark.parametrize("overlap", ["box", "mask"])
def test_equal_to_pycocotools(seed, images, classes, overlap):
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, found = scene(seed, images, classes)
    theirs = [
        {k: v for k, v in row.items() if k != ("segmentation" if overlap == "box" else "bbox")}
        for row in found
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO()
        gt.dataset = json.loads(json.dumps(truth))
        gt.createIndex()
        for row in theirs:
            if overlap == "mask":
                row["segmentation"] = gt.annToRLE(
                    {"image_id": row["image_id"], "segmentation": row["segmentation"]}
                )
        run = COCOeval(gt, gt.loadRes(theirs), "bbox" if overlap == "box" else "segm")
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][..., 2].mean(axis=1)  # thresholds, classes, areas
    ours = read_ground_truth(truth)
    result = detection_ap(ours, read_detections(found, ours), overlap=overlap)
    for place, k in enumerate((1, 10, 100)):
        recall = np.nan_to_num(result.recall_at[k], nan=-1)
        assert np.allclose(recall, run.eval["recall"][..., place], atol=1e-10, rtol=0)
    assert np.array_equal(np.isnan(result.ap), precision == -1)
    assert np.allclose(result.ap[precision > -1], precision[precision > -1], atol=1e-10, rtol=0)
    assert np.allclose(
        np.nan_to_num(result.recall, nan=-1), run.eval["recall"][..., 2], atol=1e-10, rtol=0
    )


def test_thresholds_of_ones_own_equal_pycocotools():
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, found = scene(5)
    boxes = [{k: v for k, v in row.items() if k != "segmentation"} for row in found]
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO()
        gt.dataset = json.loads(json.dumps(truth))
        gt.createIndex()
        run = COCOeval(gt, gt.loadRes(boxes), "bbox")
        run.params.iouThrs, run.params.maxDets = np.array([0.3, 0.6]), [1, 2, 5]
        run.evaluate()
        run.accumulate()
    ours = read_ground_truth(truth)
    result = detection_ap(
        ours,
        read_detections(found, ours),
        budget=("image and class", 5),
        thresholds=[0.3, 0.6],
        recall_at=[1, 2],
    )
    precision = run.eval["precision"][..., 2].mean(axis=1)
    assert np.allclose(np.nan_to_num(result.ap, nan=-1), precision, atol=1e-10, rtol=0)
    recall = run.eval["recall"]
    for place, k in enumerate((1, 2)):
        own = np.nan_to_num(result.recall_at[k], nan=-1)
        assert np.allclose(own, recall[..., place], atol=1e-10, rtol=0)
    summary = result.summary()
    assert {"AP30", "AP60", "AR@1", "AR@2", "ARs"} <= summary.keys()
    assert summary["AP60"] == pytest.approx(precision[1, :, 0][precision[1, :, 0] > -1].mean())
    assert summary["ARs"] == pytest.approx(recall[..., 1, 2][recall[..., 1, 2] > -1].mean())
    for bad in ([], [0.0, 0.5], [0.6, 0.5], [1.2]):
        with pytest.raises(ValueError, match="thresholds"):
            detection_ap(ours, read_detections(found, ours), thresholds=bad)
    with pytest.raises(ValueError, match="recall_at=0"):
        detection_ap(ours, read_detections(found, ours), recall_at=[0])


def test_what_is_right_for_calibration_overlaps_by_three_quarters():
    truth = {
        "images": [{"id": k, "width": 99, "height": 99} for k in (1, 2)],
        "categories": [{"id": 1, "name": "box"}],
        "annotations": [
            {"id": k, "image_id": k, "category_id": 1, "bbox": [0, 0, 10, 10], "area": 100}
            for k in (1, 2)
        ],
    }
    found = [
        {"image_id": k, "category_id": 1, "bbox": [0, 0, 10, high], "score": score}
        for k, high, score in ((1, 6, 0.9), (2, 8, 0.8))
    ]
    ours = read_ground_truth(truth)
    result = detection_ap(ours, read_detections(found, ours))
    right = dict(zip(result.score.tolist(), result.right.tolist(), strict=True))
    assert right == {0.9: False, 0.8: True}


def test_ignored_objects_need_not_be_found():
    """As COCO's format says; pycocotools overwrites ``ignore`` by ``iscrowd`` and asks for them."""
    box = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10], "area": 100}
    far = {**box, "bbox": [50, 50, 10, 10]}
    truth = {
        "images": [{"id": 1}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{**box, "id": 1}, {**far, "id": 2, "ignore": 1, "iscrowd": 0}],
    }
    ours = read_ground_truth(truth)
    rows = [{"image_id": 1, "category_id": 1, "bbox": box["bbox"], "score": 0.9}]
    assert detection_ap(ours, read_detections(rows, ours)).summary()["AP"] == pytest.approx(1)
    both = [*rows, {**rows[0], "bbox": far["bbox"], "score": 0.95}]
    assert detection_ap(ours, read_detections(both, ours)).summary()["AP"] == pytest.approx(1)


def test_categories_of_one_name_stay_apart():
    truth, _ = scene(0)
    for row in truth["categories"]:
        row["name"] = "cat"
    truth["categories"][1]["name"] = "dog"
    assert read_ground_truth(truth).names == ("cat (id 5)", "dog", "cat (id 7)", "cat (id 8)")


@pytest.mark.parametrize("limit", [3, 300])
def test_equal_to_lvis(limit, tmp_path, monkeypatch):
    import sys
    import types

    monkeypatch.setattr(np, "float", float, raising=False)
    monkeypatch.setitem(sys.modules, "cv2", types.ModuleType("cv2"))  # only for drawing
    lvis = pytest.importorskip("lvis")
    truth, found = scene(7, federated=True)
    (tmp_path / "t.json").write_text(json.dumps(truth | {"info": {}, "licenses": []}))
    monkeypatch.setattr(
        lvis.LVISEval,
        "_prepare_freq_group",
        lambda self: [
            [k for k, c in enumerate(truth["categories"]) if c["frequency"] == f] for f in "rcf"
        ],
        raising=False,
    )
    gt = lvis.LVIS(str(tmp_path / "t.json"))
    for c in gt.dataset["categories"]:
        c.setdefault("image_count", 1)
    boxes = [{k: v for k, v in row.items() if k != "segmentation"} for row in found]
    run = lvis.LVISEval(gt, lvis.LVISResults(gt, boxes, max_dets=limit), "bbox")
    run.run()
    ours = read_ground_truth(truth)
    assert ours.federated
    result = detection_ap(ours, read_detections(found, ours), budget=("image", limit)).summary()
    for name in ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf"):
        assert result[name] == pytest.approx(run.results[name], abs=1e-10)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.floats(0.1, 10), min_size=4, max_size=4))
def test_what_the_measures_are_blind_to(seed, powers):
    truth, found = scene(seed)
    ours = read_ground_truth(truth)
    d = read_detections(found, ours)
    from dataclasses import replace

    by_class = replace(d, score=d.score ** np.array(powers)[d.category])
    common = replace(d, score=d.score ** powers[0])
    fixed = detection_ap(ours, d, budget="fixed")
    assert np.array_equal(detection_ap(ours, by_class, budget="fixed").ap, fixed.ap, equal_nan=True)
    for budget in ("fixed", ("image", 3)):
        a, b = detection_ap(ours, d, budget=budget), detection_ap(ours, common, budget=budget)
        assert np.array_equal(a.ap, b.ap, equal_nan=True)
        assert np.array_equal(a.pooled, b.pooled, equal_nan=True)


def test_budgets_keep_the_best(coco):
    truth, d = coco
    for per, group in (("image", d.image), ("class", d.category)):
        which = kept(d, (per, 3))
        for g in np.unique(group):
            own = np.sort(d.score[group == g])[::-1][:3]
            assert np.sort(d.score[which][group[which] == g])[::-1].tolist() == own.tolist()
    assert gamed(d, 2).tolist() == kept(d, ("class", 2)).tolist()
    assert len(kept(d.take(np.zeros(len(d), dtype=bool)), ("class", 2))) == 0
    with pytest.raises(ValueError, match="use coco"):
        detection_ap(truth, d, budget="x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t, d: t["annotations"].append({**t["annotations"][0], "id": 999, "image_id": 0}),
            "annotation 999: image 0",
        ),
        (
            lambda t, d: t["annotations"].append(
                {**t["annotations"][0], "id": 999, "bbox": [0, 0, -1, 2]}
            ),
            "annotation 999: bbox",
        ),
        (lambda t, d: t["images"].append(t["images"][0]), "two images have the id 1"),
        (lambda t, d: t.pop("categories"), "missing required field `categories`"),
        (lambda t, d: d[1].pop("score"), "entry 2: .*missing required field `score`"),
        (lambda t, d: d[1].update(category_id=0), "row 2: image 1 or category 0"),
        (lambda t, d: d[1].update(bbox=[1, 2, 3]), "row 2: bbox"),
        (lambda t, d: [d[1].pop("bbox"), d[1].pop("segmentation")], "row 2: neither bbox"),
    ],
)
def test_malformed_files_are_named(change, message, tmp_path):
    truth, found = scene(0)
    change(truth, found)
    with pytest.raises(EvidenceError, match=message):
        read_detections(found, read_ground_truth(truth))
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(EvidenceError, match="not JSON"):
        read_ground_truth(tmp_path / "bad.json")


def test_calibration_makes_scores_mean_the_same():
    from scipy.special import expit

    from policyrank.metrics.calibration import CALIBRATORS, calibrate, expected_calibration_error

    rng = np.random.default_rng(0)
    group = rng.integers(3, size=6000)
    p = rng.beta(2, 2, size=6000)
    right = rng.random(6000) < p
    off = expit(2 * np.log(p / (1 - p)) + np.array([0.0, 1.0, -1.0])[group])
    half = np.arange(6000) < 3000
    before = expected_calibration_error(off[~half], right[~half])
    for method in CALIBRATORS:
        fitted = calibrate(off[half], right[half], group[half], method)
        after = fitted(off[~half], group[~half])
        assert ((after >= 0) & (after <= 1)).all()
        if method == "temperature":  # knows no shift
            continue
        assert expected_calibration_error(after, right[~half]) < before / 2
        if method in ("platt", "beta"):
            for g in range(3):
                own = group[~half] == g
                assert (
                    np.argsort(after[own], kind="stable")
                    == np.argsort(off[~half][own], kind="stable")
                ).all()
    lost = calibrate([0.5, 0.6], [0, 0], [0, 0])
    assert lost([0.5, 0.7], [0, 1]).tolist() == [0, 0]
    assert calibrate([0.5], [0], [0], fallback="keep")([0.5], [0]).tolist() == [0.5]
    with pytest.raises(ValueError, match=r"score 1 is 2; scores lie in"):
        calibrate([2.0], [1], [0])
    with pytest.raises(ValueError, match="use histogram"):
        calibrate([0.5], [1], [0], "x")


def test_calibration_by_hand():
    from policyrank.metrics.calibration import expected_calibration_error, histogram, isotonic

    scores, right = np.array([0.2, 0.2, 0.2, 0.4]), np.array([1.0, 1, 1, 0])
    assert isotonic(scores, right)(np.array([0.2, 0.3, 0.4])) == pytest.approx([0.75] * 3)
    rising = isotonic(np.array([0.2, 0.4]), np.array([0.0, 1]))
    assert rising(np.array([0.1, 0.25, 0.9])) == pytest.approx([0, 0.25, 1])
    shares = histogram(scores, right, bins=4)
    assert shares(np.array([0.0, 0.3, 0.6, 1.0])).tolist() == [1, 0, 0.625, 0.875]
    # Of 15 bins .05 and .08 are two, of 10 one.
    found = [expected_calibration_error([0.05, 0.08], [1, 0], **o) for o in ({}, {"bins": 10})]
    assert found == pytest.approx([(0.95 + 0.08) / 2, (0.95 - 0.08) / 2])
    assert expected_calibration_error([0.95, 1.0, 0.2], [0, 1, 1]) == pytest.approx(1.75 / 3)


def test_platt_equals_sklearn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    from scipy.special import logit

    from policyrank.metrics.calibration import platt

    rng = np.random.default_rng(1)
    s = rng.uniform(0.05, 0.95, 500)
    y = (rng.random(500) < s**2).astype(float)
    fitted = linear_model.LogisticRegression(C=np.inf).fit(logit(s)[:, None], y)
    assert platt(s, y)(s) == pytest.approx(fitted.predict_proba(logit(s)[:, None])[:, 1], abs=1e-3)


def test_command(tmp_path, command):
    truth, found = scene(1)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "good.json").write_text(json.dumps(found))
    rng = np.random.default_rng(0)
    (tmp_path / "bad.json").write_text(
        json.dumps([{**r, "score": float(rng.random())} for r in found])
    )
    files = [tmp_path / f"{n}.json" for n in ("good", "bad", "truth")]
    code, said = command(
        "eval-detections",
        *files,
        "--audit",
        "--out",
        tmp_path / "by.csv",
        "--html",
        tmp_path / "b.html",
    )
    assert code == 0, said.err
    assert "AP-Pool" in said.out
    assert "best 50" in said.out
    assert (tmp_path / "b.html").exists()
    code, said = command("eval-detections", *files, "--budget", "coco", "--json")
    ours = read_ground_truth(truth)
    assert (
        json.loads(said.out)["good"]["AP"]
        == detection_ap(ours, read_detections(found, ours)).summary()["AP"]
    )
    code, said = command("eval-detections", *files, "--iou", 0.5, "--recall-at", 1, "--json")
    own = json.loads(said.out)["good"]
    assert own["AP"] == own["AP50"]
    assert 0 < own["AR@1"] <= own["AR"]
    code, said = command("eval-detections", *files, "--iou", 1.5)
    assert (code, "thresholds=[1.5]" in said.err) == (2, True)
    assert command("eval-detections", files[0])[0] == 2
    code, said = command("eval-detections", files[0], tmp_path / "none.json")
    assert (code, "no such file" in said.err) == (1, True)
