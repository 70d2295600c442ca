"""Requests of a rerank server, as Cohere, Jina and vLLM have them, and errors in their shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from policyrank.errors import EvidenceError, one_line
from policyrank.train.served import Answered, Asked

Number = Annotated[float, Field(allow_inf_nan=False)]


class Document(BaseModel):
    """A document: its text, or its features."""

    text: str | None = None
    features: list[Number] | None = None


class Request(BaseModel):
    """What both requests have; other fields are named in the answer's warnings."""

    model_config = ConfigDict(extra="allow")

    model: str | None = None
    truncation: bool = True
    """False: documents that are longer than the ranker reads are refused."""
    truncate_prompt_tokens: int | None = None

    def warnings(self) -> list[str]:
        """What of the request says nothing here."""
        vain = sorted(self.model_extra or {})
        if self.truncate_prompt_tokens not in (None, -1):
            vain.append("truncate_prompt_tokens")
        return [f"not read: {', '.join(vain)}"] if vain else []


class RerankRequest(Request):
    """POST /v1/rerank."""

    query: str
    documents: list[str | Document] = Field(min_length=1)
    top_n: int | None = Field(None, ge=0)
    """Results that are given; None or 0: all."""
    return_documents: bool = False

    def asked(self) -> Asked:
        """The query and its documents: texts or rows of features.

        Raises
        ------
        EvidenceError
            For a document with neither or both.
        """
        found: list[Any] = []
        for place, own in enumerate(self.documents):
            if isinstance(own, str):
                found.append(own)
            elif (own.text is None) == (own.features is None):
                raise EvidenceError(f'document {place}: give {{"text": ...}} or a text.')
            else:
                found.append(own.features if own.text is None else own.text)
        return Asked(self.query, found)


class ScoreRequest(Request):
    """POST /v1/score: one text with each of many, or as many texts pair by pair."""

    text_1: str | list[str]
    text_2: str | list[str]

    def asked(self) -> list[Asked]:
        """Queries and documents whose scores are those of the pairs, in their order.

        Raises
        ------
        EvidenceError
            When numbers of texts do not fit.
        """
        first, second = _listed(self.text_1), _listed(self.text_2)
        if not first or not second:
            raise EvidenceError("text_1 and text_2: give at least one text each.")
        if len(first) == 1:
            return [Asked(first[0], second)]
        if len(first) != len(second):
            raise EvidenceError(
                f"text_1 has {len(first):,} texts, text_2 {len(second):,}: give one, or as many."
            )
        return [Asked(query, [text]) for query, text in zip(first, second, strict=True)]


def _listed(texts: str | list[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else texts


def results(
    answered: Answered, documents: Sequence[Any], top_n: int | None, *, shown: bool
) -> list[dict[str, Any]]:
    """Results as they are answered: best first, ties by place.

    Parameters
    ----------
    documents
        texts, or rows of features
    top_n
        how many; None or 0: all
    shown
        with their documents
    """
    order = sorted(range(len(documents)), key=lambda place: -answered.scores[place])
    found = []
    for place in order[: top_n or len(order)]:
        own: dict[str, Any] = {"index": place, "relevance_score": answered.scores[place]}
        if shown:
            document = documents[place]
            kind = "text" if isinstance(document, str) else "features"
            own["document"] = {kind: document}
        found.append(own)
    return found


def meta(answers: Sequence[Answered], warnings: Sequence[str]) -> dict[str, Any]:
    """What is said beside scores: which documents were cut, what of the request was not read."""
    truncated, start = [], 0
    for own in answers:
        truncated += [start + place for place in own.truncated]
        start += len(own.scores)
    told = list(warnings)
    if truncated:
        told.append(
            f"{len(truncated):,} documents are longer than the ranker reads: their end was not read"
        )
    told += [note for own in answers for note in own.notes]
    return {"api_version": {"version": "2"}, "truncated": truncated, "warnings": told}


def usage(answers: Sequence[Answered]) -> dict[str, int]:
    """Tokens that were read and written."""
    read, written = sum(own.tokens for own in answers), sum(own.written for own in answers)
    return {"prompt_tokens": read, "total_tokens": read + written, "completion_tokens": written}


def error_body(code: int, message: str) -> dict[str, Any]:
    """An error as vLLM (error), Cohere (message) and Jina (detail) shape it."""
    said = one_line(message)
    kind = "InternalServerError" if code >= 500 else "BadRequestError"
    error = {"message": said, "type": kind, "param": None, "code": code}
    return {"error": error, "message": said, "detail": said}
