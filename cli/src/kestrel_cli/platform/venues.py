"""The venue of a platform: which one, whose account, what has to run for it, and what the services are told.

    paper      our own paper venue, a child process of the platform
    tws-sim    a simulated Interactive Brokers, a child process; the gateway speaks TWS's own protocol to it
    ibkr       a real Trader Workstation or IB Gateway, which somebody else started and logged in

A data directory belongs to one venue and one account: its journal knows what is open there, and a platform that
forgets an account leaves its positions to nobody. The choice is kept in ``venue.json``, and the next start takes it
up again.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from kestrel.common.v1 import common_pb2
from kestrel_cli.errors import USAGE, CommandFailed
from kestrel_cli.platform.layout import HOST, PAPER_VENUE, TWS_SIM, Endpoints, Layout, read_json, write_whole
from kestrel_domain import live_gate
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.identifiers import checked_id, checked_symbol

CURRENCY = "USD"
WALLET = "1000000.00"
PAPER_ACCOUNT, TWS_ACCOUNT = "PAPER-1", "DU1234567"
GATEWAY_PAPER_PORT = 4002
LIBRARIES = ("ib_insync", "ib_async")
_SECOND_ENVIRONMENT = ".venv-ib-async"
_INTERPRETER = "KESTREL_IB_ASYNC_PYTHON"


class VenueKind(StrEnum):
    """Where orders go."""

    PAPER = "paper"
    TWS_SIM = "tws-sim"
    IBKR = "ibkr"


@dataclass(frozen=True, slots=True)
class VenueChoice:
    """One venue and one account at it. ``host`` and ``port`` are of a real TWS or Gateway and mean nothing else."""

    kind: VenueKind = VenueKind.PAPER
    account: str = PAPER_ACCOUNT
    library: str = LIBRARIES[0]
    symbols: tuple[str, ...] = ()
    host: str = HOST
    port: int = GATEWAY_PAPER_PORT

    @property
    def name(self) -> str:
        """What subjects, orders and books call the venue."""
        return "paper" if self.kind is VenueKind.PAPER else "ibkr"

    @property
    def process(self) -> str:
        """The child process that is the venue; empty when it is none of ours."""
        return {VenueKind.PAPER: PAPER_VENUE, VenueKind.TWS_SIM: TWS_SIM}.get(self.kind, "")

    @property
    def told(self) -> str:
        """For banners and reports."""
        if self.kind is VenueKind.PAPER:
            return "our own paper venue"
        if self.kind is VenueKind.TWS_SIM:
            return f"a simulated TWS, through {self.library}"
        return f"Interactive Brokers at {self.host}:{self.port}, through {self.library}"

    def gateway_settings(self, endpoints: Endpoints) -> dict[str, Any]:
        """What section ``venue-gateway`` says of it."""
        settings: dict[str, Any] = {"venue": self.name, "accounts": [self.account]}
        if self.kind is VenueKind.PAPER:
            return {**settings, "paper_address": endpoints.address(PAPER_VENUE)}
        host, port = (HOST, endpoints.ports[TWS_SIM]) if self.kind is VenueKind.TWS_SIM else (self.host, self.port)
        return {
            **settings,
            "ibkr_host": host,
            "ibkr_port": port,
            "ibkr_library": self.library,
            "ibkr_symbols": list(self.symbols),
        }

    def kernel_settings(self) -> dict[str, Any]:
        """What the kernel's account says of it.

        Fees: the paper venue charges by notional, and the kernel predicts that. Interactive Brokers charges by share
        with a minimum, which no rate predicts: nothing is predicted, and what the broker reports is booked.
        A wallet to begin with is known of simulators only.
        """
        rates = {"taker_fee_rate": "0.0005", "maker_fee_rate": "0.0002"} if self.kind is VenueKind.PAPER else {}
        wallet = {} if self.kind is VenueKind.IBKR else {"seed_wallet": WALLET}
        return {**wallet, **rates}

    def gateway_interpreter(self) -> str:
        """The Python that has the library. The two exclude each other in one environment: each has its own.

        Raises CommandFailed when there is none.
        """
        if self.kind is VenueKind.PAPER or self.library == LIBRARIES[0]:
            return sys.executable
        named = os.environ.get(_INTERPRETER, "")
        python = Path(named) if named else Path(sys.prefix).parent / _SECOND_ENVIRONMENT / "bin" / "python"
        if not python.exists():
            raise CommandFailed(
                f"{self.library} has an environment of its own, and there is no {python}",
                next_step=f"make it: make {_SECOND_ENVIRONMENT}/.ready, or name its Python in {_INTERPRETER}",
            )
        return str(python)

    def save(self, layout: Layout) -> None:
        write_whole(layout.venue, json.dumps(asdict(self), indent=2))

    @classmethod
    def load(cls, layout: Layout) -> VenueChoice | None:
        """What this data directory trades on; None when nothing says so."""
        stored = read_json(layout.venue)
        if not {each.name for each in fields(cls)} <= stored.keys():
            return None
        return cls(**{**stored, "kind": VenueKind(stored["kind"]), "symbols": tuple(stored["symbols"])})


OUR_PAPER_VENUE = VenueChoice()


def chosen(
    layout: Layout,
    *,
    kind: VenueKind | None,
    account: str = "",
    host: str = "",
    port: int = 0,
    library: str = "",
    symbols: Iterable[str] = (),
) -> VenueChoice:
    """What was asked for, checked; what was not said is as last time in this directory, or the default.

    Raises CommandFailed for what cannot be, for real money, and for a directory that belongs to another account.
    """
    before = VenueChoice.load(layout) or _from_configuration(layout)
    kind = kind or (before.kind if before else VenueKind.PAPER)
    base = before if before is not None and before.kind is kind else VenueChoice(kind=kind, account="")
    choice = VenueChoice(
        kind=kind,
        account=account or base.account or _default_account(kind),
        library=library or base.library,
        symbols=tuple(symbols) or base.symbols,
        host=host or base.host,
        port=port or base.port,
    )
    _check(choice, said_where=bool(host or port), layout=layout)
    if before is not None and (before.name, before.account) != (choice.name, choice.account):
        raise CommandFailed(
            f"{layout.root} belongs to account {before.account} at venue {before.name}, and was asked to trade"
            f" {choice.account} at {choice.name}",
            next_step="choose another directory: kestrel up --data-dir var/another ...",
            code=USAGE,
        )
    return choice


def _from_configuration(layout: Layout) -> VenueChoice | None:
    """Whose directory it is by what the services were told last; None: nobody's yet. A file was lost, or is of before.

    Raises CommandFailed when that cannot be told: positions may depend on it.
    """
    if not layout.config.exists():
        return None
    try:
        told = yaml.safe_load(layout.config.read_text())["venue-gateway"]
        account, is_paper = str(told["accounts"][0]), told["venue"] == "paper"
    except (OSError, yaml.YAMLError, KeyError, IndexError, TypeError) as error:
        raise CommandFailed(
            f"{layout.config} does not say which account {layout.root} belongs to",
            next_step="restore that file, or choose another directory with --data-dir",
        ) from error
    if is_paper:
        return VenueChoice(account=account)
    return VenueChoice(
        VenueKind.TWS_SIM if layout.tws_sim.exists() else VenueKind.IBKR,
        account,
        told.get("ibkr_library", LIBRARIES[0]),
        tuple(told.get("ibkr_symbols", ())),
        *(() if layout.tws_sim.exists() else (told.get("ibkr_host", HOST), told.get("ibkr_port", GATEWAY_PAPER_PORT))),
    )


def _default_account(kind: VenueKind) -> str:
    if kind is VenueKind.IBKR:
        raise CommandFailed(
            "which account? Interactive Brokers knows several",
            next_step="name the paper account that is logged in: --account DU1234567",
            code=USAGE,
        )
    return PAPER_ACCOUNT if kind is VenueKind.PAPER else TWS_ACCOUNT


def _check(choice: VenueChoice, *, said_where: bool, layout: Layout) -> None:
    if said_where and choice.kind is not VenueKind.IBKR:
        raise CommandFailed(
            f"--host and --port say where a real TWS listens; venue {choice.kind.value} is started by the platform",
            next_step="leave them out, or choose --venue ibkr",
            code=USAGE,
        )
    if choice.library not in LIBRARIES:
        raise CommandFailed(f"no library {choice.library!r}", next_step=f"one of {', '.join(LIBRARIES)}", code=USAGE)
    try:
        checked_id("account", choice.account)
        for symbol in choice.symbols:
            checked_symbol("symbol", symbol.partition(":")[0])
    except InvalidRequest as error:
        raise CommandFailed(str(error), next_step="see kestrel up --help", code=USAGE) from error
    if choice.kind is not VenueKind.PAPER:
        _refuse_real_money(choice)
    choice.gateway_interpreter()


def _refuse_real_money(choice: VenueChoice) -> None:
    """``kestrel up`` runs paper platforms. The gateway asks the same gate again, with the accounts it then sees."""
    refusal = live_gate.check(
        live_gate.GateQuestion(
            account=choice.account,
            kind=live_gate.kind_of_ibkr_account(choice.account),
            environment=common_pb2.ENVIRONMENT_PAPER,
            confirmation="",
            promotion=None,
            kill_flags=None,
            now_ns=0,
        )
    )
    if refusal is not None:
        raise CommandFailed(
            f"{refusal.reason}: {refusal.message}",
            next_step=f"the rule: {refusal.field} is {refusal.rule} (its id begins with DU or DF)",
            code=USAGE,
        )
