"""The web face: the ASGI app, its authentication, routes and sockets."""
