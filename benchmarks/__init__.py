"""The same experiments in Glassbox, in other tools and in plain hooks: values compared, then timed, in one run."""
