"""Whatever ends `ktpy connect`, at whatever moment: laptop and cluster are as they were before.

The laptop's links, addresses, routes and everything about its resolver are compared byte for byte. In the cluster
nothing may be left two minutes later, with no one doing anything. Before the first test of this package things are
abandoned there, the last module looks what became of them: in between, others use the time.
"""
