"""Starts the policy: ``python -m kestrel_policy --config FILE``."""

from kestrel_chassis.service import main
from kestrel_policy.config import PolicySettings
from kestrel_policy.shell.service import build

if __name__ == "__main__":
    main(PolicySettings, build)
