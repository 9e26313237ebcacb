"""``python -m kestrel_venue_gateway --config FILE``: start the gateway."""

from kestrel_chassis.service import main
from kestrel_venue_gateway.config import VenueGatewaySettings
from kestrel_venue_gateway.service import build

if __name__ == "__main__":
    main(VenueGatewaySettings, build)
