"""Models of others, by name.

Sentence encoders (extra ``retrieval``) and causal language models (extra ``llm``).
"""
