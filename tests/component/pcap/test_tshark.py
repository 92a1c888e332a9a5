"""Wireshark's own reader opens what ktpy has written."""

import subprocess
from pathlib import Path

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from ktpy.pcap.files import PacketFiles

REQUEST = bytes(
    IP(src="198.18.0.1", dst="10.96.0.1") / TCP(sport=4, dport=80) / b"GET /x HTTP/1.1\r\nHost: web\r\n\r\n"
)
ANSWER = bytes(IPv6(src="fd96::1", dst="fd6b::1") / TCP(sport=80, dport=4, flags="SA"))


def test_it_shows_packets_with_the_names_of_the_cluster(tmp_path: Path) -> None:
    files = PacketFiles(tmp_path / "a.pcapng")
    files.name({"10.96.0.1": "web.shop.svc.cluster.local", "fd96::1": "web.shop.svc.cluster.local"})
    files.add(1_800_000_000.25, REQUEST, len(REQUEST), is_sent=True)
    files.add(1_800_000_000.5, ANSWER[:60], 1460, is_sent=False)
    files.close(3)
    fields = ["frame.time_epoch", "frame.len", "frame.cap_len", "frame.packet_flags_direction", "tcp.port", "http.host"]
    chosen = ["-T", "fields", "-E", "separator=|", *(word for field in fields for word in ("-e", field))]
    assert tshark(tmp_path / "a.pcapng", "-n", *chosen) == [
        f"1800000000.250000000|{len(REQUEST)}|{len(REQUEST)}|0x00000002|4,80|web",
        "1800000000.500000000|1460|60|0x00000001|80,4|",
    ]
    named = tshark(tmp_path / "a.pcapng", "-N", "n")
    assert [line.count("web.shop.svc.cluster.local") for line in named] == [1, 1]


def tshark(file: Path, *arguments: str) -> list[str]:
    done = subprocess.run(["tshark", "-r", str(file), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()
