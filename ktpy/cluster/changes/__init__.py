"""The kinds of change that ktpy makes in a cluster, each with its way in and its way out."""
