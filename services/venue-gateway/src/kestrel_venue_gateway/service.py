"""Puts the gateway together: one venue, its sessions, its market data, its admin service."""

from __future__ import annotations

from kestrel.admin.v1 import venue_gateway_pb2_grpc
from kestrel_chassis.identity import Role
from kestrel_chassis.service import ServiceContext
from kestrel_domain import subjects
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.tokens import VerifyingKey
from kestrel_venue_gateway.config import VenueGatewaySettings
from kestrel_venue_gateway.shell.admin import VenueGatewayServicer
from kestrel_venue_gateway.shell.market import MarketFeed
from kestrel_venue_gateway.shell.pacing import Pauses
from kestrel_venue_gateway.shell.paper import PaperVenue
from kestrel_venue_gateway.shell.session import AccountSession
from kestrel_venue_gateway.shell.venue import Venue

_TOKEN_KEY = "token-public.pem"  # noqa: S105  (a file's name)


async def build(context: ServiceContext[VenueGatewaySettings]) -> None:
    """Add everything the gateway does to a context that is connected and not yet ready."""
    settings = context.settings
    key = read_token_key(settings)
    sessions = [
        AccountSession(settings, context.bus, _venue(settings, account), key, context.parking, account)
        for account in settings.accounts
    ]
    for session in sessions:
        await _add_session(context, session)
    _add_market(context, sessions)
    context.admin.add(
        venue_gateway_pb2_grpc.add_VenueGatewayServiceServicer_to_server,
        VenueGatewayServicer(settings.environment, sessions),
        {"ListSessions": Role.VIEWER},
    )


def read_token_key(settings: VenueGatewaySettings) -> VerifyingKey:
    """The public half of governance's key. Raises ``InvalidRequest`` naming the file."""
    path = settings.secrets_dir / _TOKEN_KEY
    try:
        return VerifyingKey(path.read_bytes())
    except OSError as error:
        raise InvalidRequest.of("secrets_dir", path, f"governance's public key, readable ({error.strerror})") from error


async def _add_session(context: ServiceContext[VenueGatewaySettings], session: AccountSession) -> None:
    async def answer_truth(subject: str, data: bytes) -> None:
        session.ask_for_truth(data.decode(errors="replace")[:64])

    name = f"session.{session.account}"

    def tell_status() -> None:
        if session.standing_by or (session.active and session.connected):
            context.status.unblock(name)
        else:
            waits_for = "the venue" if session.active else "its lease and the journal"
            context.status.block(name, f"the session of {session.account} waits for {waits_for}")

    session.on_change = tell_status
    tell_status()
    await context.bus.subscribe_core(subjects.truth_request(session.venue.name, session.account), answer_truth)
    context.supervisor.add(name, session.run, restart=True)
    context.supervisor.on_stop(session.stop)
    context.closers.append(session.venue.close)


def _add_market(context: ServiceContext[VenueGatewaySettings], sessions: list[AccountSession]) -> None:
    settings = context.settings
    venue = _venue(settings, settings.accounts[0])
    feed = MarketFeed(context.bus, venue, sessions, Pauses(settings.pause_s_min, settings.pause_s_max))
    context.supervisor.add("market", feed.run, restart=True)
    context.closers.append(venue.close)


def _venue(settings: VenueGatewaySettings, account: str) -> Venue:
    """A login at the venue of the settings. What a venue needs is imported when it is that venue's turn."""
    if settings.venue == "ibkr":
        from kestrel_venue_gateway.ibkr.venue import IbkrVenue

        return IbkrVenue(settings, account)
    return PaperVenue(settings.paper_address, account, request_timeout_s=settings.request_timeout_s)
