from ktpy.dns.cache import ReplyCache
from tests.unit.dns.name_servers import answering, asked, denying, parsed


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def put(cache: ReplyCache, name: str, ttl_s: int = 60) -> None:
    query = asked(name)
    message = answering("192.0.2.1", ttl_s)(parsed(query.data))
    assert message is not None
    cache.put(name, query, message)


def test_a_reply_is_kept_until_its_ttl_is_over() -> None:
    clock = Clock()
    cache = ReplyCache(clock=clock)
    put(cache, "web.example", ttl_s=60)
    clock.now_s += 59.9
    message = cache.get("web.example", asked("web.example"))
    assert message is not None
    assert parsed(message).rr[0].ttl == 1
    clock.now_s += 0.1
    assert cache.get("web.example", asked("web.example")) is None
    assert len(cache) == 0


def test_a_negative_reply_is_kept_as_its_soa_says() -> None:
    clock = Clock()
    cache = ReplyCache(clock=clock)
    query = asked("gone.example")
    message = denying(minimum_s=30)(parsed(query.data))
    assert message is not None
    cache.put("gone", query, message)
    clock.now_s += 29
    assert cache.get("gone", query) is not None
    clock.now_s += 1
    assert cache.get("gone", query) is None


def test_the_one_unused_for_longest_makes_room() -> None:
    cache = ReplyCache(capacity=2)
    put(cache, "a.example")
    put(cache, "b.example")
    cache.get("a.example", asked("a.example"))
    put(cache, "c.example")
    assert cache.get("b.example", asked("b.example")) is None
    assert cache.get("a.example", asked("a.example")) is not None


def test_what_must_not_be_kept_is_not() -> None:
    cache = ReplyCache()
    put(cache, "web.example", ttl_s=0)
    assert len(cache) == 0
