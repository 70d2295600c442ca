"""Inventory: what to order from whom, period by period.

On a network of factories, distributors and retailers. One simulator runs thousands of episodes at
once and reproduces the published environment number for number; every controller says what it may
know. Barati and Hu (2026), arXiv 2605.11355 (gym-invmgmt); networks and costs from Perez et al.
(2021).
"""

from policyrank._rooms import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
