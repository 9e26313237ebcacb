"""The paper venue, over its own gRPC protocol ``kestrel.paper.v1``."""

from kestrel_venue_gateway.shell.paper.venue import PaperVenue

__all__ = ["PaperVenue"]
