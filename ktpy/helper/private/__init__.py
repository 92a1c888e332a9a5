"""The helper of `ktpy run`: it has no root, and makes a network for one program in namespaces of its own."""
