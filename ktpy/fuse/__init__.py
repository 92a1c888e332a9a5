"""A claim as a file system of the laptop's kernel: what the kernel asks on /dev/fuse is done in the pod."""
