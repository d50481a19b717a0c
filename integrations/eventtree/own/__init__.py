"""The app's own code in the tree: `with eventtree.span(…)` and `@eventtree.observe`. Needs no framework."""
