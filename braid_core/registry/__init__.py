"""How a plugin is found and named: discovery, hooks, spec."""
