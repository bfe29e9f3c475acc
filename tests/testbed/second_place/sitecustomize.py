"""A Python that starts with this folder in PYTHONPATH knows the second place, as the product itself never does."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))

from testbed import jail

jail.register()
