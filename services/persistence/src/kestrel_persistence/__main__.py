"""``python -m kestrel_persistence --config FILE``"""

from kestrel_chassis.service import main
from kestrel_persistence.config import PersistenceSettings
from kestrel_persistence.service import build

if __name__ == "__main__":
    main(PersistenceSettings, build)
