"""A question in a process of its own: `python -m highball.agent.query`."""

from highball.process.quick_start import read_module

read_module("highball.agent.query.responder").main()
