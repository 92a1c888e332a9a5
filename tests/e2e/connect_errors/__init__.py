"""Everything that can keep `ktpy connect` from connecting: it says what is wrong and what to do next, soon.

Each failure has its own exit code, and leaves nothing behind: the laptop's network is compared byte for byte, and the
namespace must have no Job of ktpy's.
"""
