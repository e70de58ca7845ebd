"""What stands between strangers and the routes: hosts, sites, tokens, bodies, crowds, headers."""
