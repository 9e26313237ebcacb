"""``python -m kestrel_reconciler --config FILE``"""

from kestrel_chassis.service import main
from kestrel_reconciler.config import ReconcilerSettings
from kestrel_reconciler.service import build

if __name__ == "__main__":
    main(ReconcilerSettings, build)
