"""What programs and browsers are told."""

from ipaddress import ip_network

from ktpy.capture.proxy.settings import environment, pac_file


def test_the_environment_in_both_spellings() -> None:
    told = environment(1080, None, ["api.example", "localhost"])
    assert {name: value for name, value in told.items() if name.isupper()} == {
        "ALL_PROXY": "socks5h://127.0.0.1:1080",
        "HTTP_PROXY": "http://127.0.0.1:1080",
        "HTTPS_PROXY": "http://127.0.0.1:1080",
        "NO_PROXY": "localhost,127.0.0.1,::1,api.example",
    }
    assert {name.upper(): value for name, value in told.items() if name.islower()} == {
        name: value for name, value in told.items() if name.isupper()
    }


def test_a_login_is_part_of_the_urls() -> None:
    told = environment(1080, ("ktpy", "secret"), [])
    assert (told["ALL_PROXY"], told["HTTP_PROXY"]) == (
        "socks5h://ktpy:secret@127.0.0.1:1080",
        "http://ktpy:secret@127.0.0.1:1080",
    )


def test_the_pac_file_has_names_and_ranges() -> None:
    networks = [ip_network("10.96.0.0/16"), ip_network("fd96::/108")]
    text = pac_file(1080, ["svc", "cluster.local"], ["shop", "default"], networks)
    assert text.splitlines()[0] == (
        'var suffixes = [".svc", ".cluster.local"], namespaces = ["default", "shop"],'
        ' networks = [["10.96.0.0", "255.255.0.0"]];'
    )
    assert text.count('return "PROXY 127.0.0.1:1080";') == 4
