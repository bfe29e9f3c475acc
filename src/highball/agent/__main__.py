"""The agent: `python -m highball.agent STATE`."""

import sys

from highball.process.quick_start import read_module

sys.exit(read_module("highball.agent.agent_process").main(sys.argv[1:]))
