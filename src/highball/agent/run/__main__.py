"""A run in a process of its own: `python -m highball.agent.run STATE RUN LOCK`."""

import sys

from highball.process.quick_start import read_module

read_module("highball.agent.run.runner").main(sys.argv[1:])
