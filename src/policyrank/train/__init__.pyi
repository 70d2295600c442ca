from .answers import encode_answers as encode_answers
from .collapsing import (
    CollapseCallback as CollapseCallback,
    CollapseReport as CollapseReport,
    watch_log as watch_log,
)
from .data import (
    Batch as Batch,
    Lists as Lists,
    RankingData as RankingData,
    gap_lists as gap_lists,
)
from .denoising import MaskedDiffusionTrainer as MaskedDiffusionTrainer
from .denoising_config import MaskedDiffusionConfig as MaskedDiffusionConfig
from .filtering import (
    FilterReport as FilterReport,
    compare_filters as compare_filters,
)
from .group import GroupTrainer as GroupTrainer
from .group_config import GroupConfig as GroupConfig
from .joint_ranking import RankerLearner as RankerLearner, RankerPolicy as RankerPolicy
from .letor import (
    LetorFiles as LetorFiles,
    read_letor as read_letor,
    read_letor_files as read_letor_files,
)
from .likeness import (
    LIKENESSES as LIKENESSES,
    Likeness as Likeness,
    embedding_likeness as embedding_likeness,
    semantic_groups as semantic_groups,
)
from .logged_answers import Logged as Logged, read_logged as read_logged
from .negatives import SAMPLERS as SAMPLERS, Sampler as Sampler
from .ppo import PPOTrainer as PPOTrainer
from .ppo_config import PPOConfig as PPOConfig
from .preference import ListwisePreferenceTrainer as ListwisePreferenceTrainer
from .preference_config import ListwisePreferenceConfig as ListwisePreferenceConfig
from .ranker import RankerTrainer as RankerTrainer
from .ranker_progress import Epoch as Epoch, Progress as Progress
from .ranker_steps import OPTIMIZERS as OPTIMIZERS, SCHEDULES as SCHEDULES
from .rankers import (
    RANKERS as RANKERS,
    ListTransformer as ListTransformer,
    Mlp as Mlp,
    linear as linear,
)
from .replay_config import Replay as Replay
from .reward import (
    reward_model as reward_model,
    reward_scorer as reward_scorer,
)
from .reward_trainer import (
    RewardModelConfig as RewardModelConfig,
    RewardModelTrainer as RewardModelTrainer,
)
from .search_agents import SearchTask as SearchTask
from .search_engines import (
    Bm25Engine as Bm25Engine,
    DenseEngine as DenseEngine,
    OracleEngine as OracleEngine,
    Passage as Passage,
    RerankedEngine as RerankedEngine,
    SearchEngine as SearchEngine,
    ServerEngine as ServerEngine,
)
from .server_sampling import ServerSampler as ServerSampler
from .text_rankers import (
    TEXT_RANKERS as TEXT_RANKERS,
    BiEncoderRanker as BiEncoderRanker,
    CrossEncoderRanker as CrossEncoderRanker,
    bi_encoder as bi_encoder,
    cross_encoder as cross_encoder,
)
from .texts import (
    TextData as TextData,
    Texts as Texts,
)
from .training_logs import (
    TrainingLog as TrainingLog,
    read_training_log as read_training_log,
)
from .trees import (
    preference_trees as preference_trees,
    split_steps as split_steps,
)
from .trl import RolloutGRPOTrainer as RolloutGRPOTrainer
from .turn_data import environment_rows as environment_rows, turn_reward as turn_reward
from .turn_histories import history_advantage as history_advantage
from .turn_limits import STOPS as STOPS, TurnLimits as TurnLimits
from .turn_logs import RolloutLog as RolloutLog
from .turn_sampling import TurnSampler as TurnSampler, call_style as call_style

__all__ = [
    "LIKENESSES",
    "OPTIMIZERS",
    "RANKERS",
    "SAMPLERS",
    "SCHEDULES",
    "STOPS",
    "TEXT_RANKERS",
    "Batch",
    "BiEncoderRanker",
    "Bm25Engine",
    "CollapseCallback",
    "CollapseReport",
    "CrossEncoderRanker",
    "DenseEngine",
    "Epoch",
    "FilterReport",
    "GroupConfig",
    "GroupTrainer",
    "LetorFiles",
    "Likeness",
    "ListTransformer",
    "Lists",
    "ListwisePreferenceConfig",
    "ListwisePreferenceTrainer",
    "Logged",
    "MaskedDiffusionConfig",
    "MaskedDiffusionTrainer",
    "Mlp",
    "OracleEngine",
    "PPOConfig",
    "PPOTrainer",
    "Passage",
    "Progress",
    "RankerLearner",
    "RankerPolicy",
    "RankerTrainer",
    "RankingData",
    "Replay",
    "RerankedEngine",
    "RewardModelConfig",
    "RewardModelTrainer",
    "RolloutGRPOTrainer",
    "RolloutLog",
    "Sampler",
    "SearchEngine",
    "SearchTask",
    "ServerEngine",
    "ServerSampler",
    "TextData",
    "Texts",
    "TrainingLog",
    "TurnLimits",
    "TurnSampler",
    "bi_encoder",
    "call_style",
    "compare_filters",
    "cross_encoder",
    "embedding_likeness",
    "encode_answers",
    "environment_rows",
    "gap_lists",
    "history_advantage",
    "linear",
    "preference_trees",
    "read_letor",
    "read_letor_files",
    "read_logged",
    "read_training_log",
    "reward_model",
    "reward_scorer",
    "semantic_groups",
    "split_steps",
    "turn_reward",
    "watch_log",
]
