"""Traffic of programs that are told of a proxy: a loopback port that speaks SOCKS and HTTP. It needs no root."""
