"""IP, TCP and ICMP as bytes: parse, rewrite, checksums, the flow table. Pure: no I/O."""
