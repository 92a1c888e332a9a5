"""`ktpy.cluster.intercept` on a real cluster, without the command line. A package: its namespace goes with it."""
