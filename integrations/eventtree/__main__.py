"""`python -m eventtree`: the same as the `eventtree` command."""

from eventtree.cli import main

main(prog_name="eventtree")
