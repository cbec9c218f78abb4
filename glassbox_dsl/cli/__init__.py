"""The command line: one file per verb in `verbs/`, found by its folder; the stages do the work."""
