"""The helper is root: it opens the TUN, sets routes and the resolver, and undoes all of it when its caller ends."""
