"""The one matching engine: pure, deterministic, exact. Start reading at ``engine``."""

from kestrel_simulators.matching.books import Account, Event, Life, NewOrder, Order, Position
from kestrel_simulators.matching.chance import Chance, Fate, Fortune, Mode, draw
from kestrel_simulators.matching.engine import Costs, MatchingEngine
from kestrel_simulators.matching.market import Bar, Market
from kestrel_simulators.matching.money import AMOUNT_SCALE, Instrument

__all__ = [
    "AMOUNT_SCALE",
    "Account",
    "Bar",
    "Chance",
    "Costs",
    "Event",
    "Fate",
    "Fortune",
    "Instrument",
    "Life",
    "Market",
    "MatchingEngine",
    "Mode",
    "NewOrder",
    "Order",
    "Position",
    "draw",
]
