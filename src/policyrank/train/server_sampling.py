"""Groups sampled by a server: an OpenAI-compatible endpoint of completions, such as vLLM's.

Prompts go as token ids and samples come as token ids, with the server's own log-probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

import msgspec

from policyrank.errors import EvidenceError, OptionError
from policyrank.evidence.json_schema import parse_json
from policyrank.files import written_folder
from policyrank.models.group_sampling import Decoding
from policyrank.models.sampling import Sampled, ids_until
from policyrank.models.tokens import stop_ids
from policyrank.train.adapters import is_adapted
from policyrank.train.posting import RefusedError, check_key, post


class _LogProbs(msgspec.Struct):
    token_logprobs: list[float | None] | None = None


class _Choice(msgspec.Struct):
    text: str = ""
    token_ids: list[int] | None = None
    finish_reason: str | None = None
    logprobs: _LogProbs | None = None


class _Reply(msgspec.Struct):
    choices: list[_Choice]


@dataclass
class ServerSampler:
    """A ``GroupSampler`` by a server, for ``GroupTrainer(sampler=...)``.

    Ids are learned as they were sampled: a server that gives texts only is refused, unless they may
    be tokenised again. At temperatures other than 1 the server must give log-probabilities of what
    it sampled from (vLLM: ``--logprobs-mode processed_logprobs``).

    Parameters
    ----------
    url
        base, such as http://localhost:8000/v1
    model
        its name there
    tokenizer
        of the same vocabulary
    decoding
        how tokens are drawn; processors are not sent
    key
        name of the environment variable with the API key (None: no key)
    chat
        whether prompts came through the chat template, whose end of turn then ends samples too
    adapters
        folder that the server reads too: before each round the trained adapters are written there
        and loaded anew by the name ``model`` (vLLM with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1). None:
        the server stays as it is, and is ever further from what is trained
    retokenise
        take texts where there are no ids, tokenised again; that is counted and reported
    workers, retries, timeout
        requests at once; tries after a failure that may pass; seconds of one request
    report
        told once what is not as it should be

    Attributes
    ----------
    retokenised, endless
        samples so far that were tokenised again, and that came without their end token
    """

    url: str
    model: str
    tokenizer: Any
    decoding: Decoding = field(default_factory=Decoding)
    key: str | None = None
    chat: bool | None = None
    adapters: str | Path | None = None
    retokenise: bool = False
    workers: int = 8
    retries: int = 5
    timeout: float = 600.0
    report: Callable[[str], Any] | None = None
    retokenised: int = field(default=0, init=False)
    endless: int = field(default=0, init=False)
    _told: set[str] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.decoding.processors is not None:
            raise OptionError("processors are functions here, and cannot be sent to a server.")

    def __call__(
        self, heads: Sequence[Sequence[int]], samples: int, /, *, seed: int
    ) -> list[list[Sampled]]:
        """``samples`` of each prompt.

        Raises
        ------
        EvidenceError
            When the key is missing, a request fails for good, or the reply holds no ids.
        """
        check_key(self.url, self.key)
        seeds = [(seed + 7919 * k) % 2**31 for k in range(len(heads))]
        with ThreadPoolExecutor(self.workers) as pool:
            found = list(pool.map(self._group, heads, repeat(samples), seeds))
        self._tell()
        return found

    def update(self, model: Any) -> None:
        """Give the server the adapters as they are now.

        Raises
        ------
        OptionError
            For a model without adapters: whole weights are not sent.
        EvidenceError
            When the server does not take them.
        """
        if self.adapters is None:
            return
        if not is_adapted(model):
            raise OptionError(
                "a server is given adapters, not whole weights: train adapters (peft_config), or"
                " leave the server as it is (adapters=None)."
            )
        folder = Path(self.adapters).resolve()
        with written_folder(folder) as part:
            model.save_pretrained(str(part))
        with suppress(RefusedError):  # the first time there are none
            self._post("unload_lora_adapter", {"lora_name": self.model}, bytes)
        body = {"lora_name": self.model, "lora_path": str(folder)}
        self._post("load_lora_adapter", body, bytes)

    def _group(self, head: Sequence[int], samples: int, seed: int) -> list[Sampled]:
        """Samples of one prompt; some servers give fewer a request than they are asked for."""
        choices: list[_Choice] = []
        while len(choices) < samples:
            body = self._asked(head, samples - len(choices), seed + len(choices))
            choices += self._post("completions", body, _choices)
        stop = stop_ids(self.tokenizer, self.chat)
        return [self._sample(choice, stop) for choice in choices[:samples]]

    def _asked(self, head: Sequence[int], samples: int, seed: int) -> dict[str, Any]:
        how = self.decoding
        body = {
            "model": self.model,
            "prompt": list(head),
            "n": samples,
            "max_tokens": how.max_new_tokens,
            "temperature": how.temperature,
            "top_p": how.top_p,
            "seed": seed,
            "logprobs": 1,
            "return_token_ids": True,
            "stop_token_ids": stop_ids(self.tokenizer, self.chat),
        }
        if how.stop:
            body |= {"stop": list(how.stop), "include_stop_str_in_output": True}
        return body | ({"top_k": how.top_k} if how.top_k else {})

    def _sample(self, choice: _Choice, stop: Sequence[int]) -> Sampled:
        ended = choice.finish_reason == "stop"
        if choice.token_ids is None:
            return self._again(choice, stop, ended)
        ids = tuple(choice.token_ids)
        known = None if choice.logprobs is None else choice.logprobs.token_logprobs
        log_probs = None
        if known is not None and None not in known:
            if len(known) != len(ids):
                raise EvidenceError(
                    f"{self.url}: {len(known)} log-probabilities for {len(ids)} token ids."
                )
            log_probs = tuple(float(value) for value in known if value is not None)
        most = ids_until(self.tokenizer, ids, self.decoding.stop)
        if most is not None:
            ids, ended = ids[:most], True
            log_probs = None if log_probs is None else log_probs[:most]
        self.endless += ended and most is None and not (ids and ids[-1] in stop)
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return Sampled(text, ids, ended, log_probs)

    def _again(self, choice: _Choice, stop: Sequence[int], ended: bool) -> Sampled:
        """A sample of which only the text is known."""
        if not self.retokenise:
            raise EvidenceError(
                f"{self.url} gives texts without token ids (vLLM: return_token_ids), which may not"
                " be what was sampled once they are tokenised again. Take retokenise=True to learn"
                " from them all the same."
            )
        self.retokenised += 1
        ids = list(self.tokenizer(choice.text, add_special_tokens=False)["input_ids"])
        return Sampled(choice.text, (*ids, *(stop[:1] if ended else ())), ended)

    def _tell(self) -> None:
        told = {
            "samples are tokenised again from the server's texts": self.retokenised,
            "samples come without their end token, which then is not learned": self.endless,
        }
        for text, count in told.items():
            if count and text not in self._told and self.report is not None:
                self._told.add(text)
                self.report(text)

    def _post(self, path: str, body: dict[str, Any], read: Callable[[bytes], Any]) -> Any:
        return post(
            f"{self.url.rstrip('/')}/{path}",
            body,
            read,
            key=self.key,
            retries=self.retries,
            timeout=self.timeout,
        )


def _choices(reply: bytes) -> list[_Choice]:
    choices = parse_json(reply, _Reply, "the reply").choices
    if not choices:
        raise EvidenceError("the reply holds no sample (choices is empty)")
    return choices
