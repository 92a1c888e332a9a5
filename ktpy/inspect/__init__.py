"""The HTTP that passes on the laptop, read beside the bytes. Pure: no I/O, and nothing here holds a byte up."""
