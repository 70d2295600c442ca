"""Models of others, by name: sentence encoders (extra ``retrieval``) and causal language models
(extra ``llm``).
"""
