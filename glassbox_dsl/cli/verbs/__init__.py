"""One file per verb of `gbx`: its name is the verb, its `register(app)` adds the command."""
