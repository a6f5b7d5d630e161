"""Small things of other projects, kept here so that nothing has to be installed."""
