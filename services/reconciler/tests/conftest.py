"""Makes ``reconciler_samples`` importable by the tests of this service."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
