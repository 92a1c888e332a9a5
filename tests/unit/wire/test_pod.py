from ktpy.wire.pod import host_key_line, parse_host_key


def test_the_host_key_that_the_agent_prints_is_the_one_that_a_laptop_reads() -> None:
    log = f"Server listening\n{host_key_line('ssh-ed25519 AAAA')}{host_key_line('ssh-ed25519 BBBB')}"
    assert parse_host_key(log) == "ssh-ed25519 AAAA"


def test_a_log_without_a_host_key() -> None:
    assert parse_host_key("Server listening\n") is None
