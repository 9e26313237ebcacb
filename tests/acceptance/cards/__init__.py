"""The cards, by what they are about. Importing this registers all of them."""

from tests.acceptance.cards import account, brackets, cancels, doubts, foreign, money, orders, recovery

__all__ = ["account", "brackets", "cancels", "doubts", "foreign", "money", "orders", "recovery"]
