"""`python -m highball`."""

from highball.cli import main

main()
