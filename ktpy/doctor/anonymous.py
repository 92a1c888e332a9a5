"""A report that may be shared with anybody: names become stand-ins, the same for the same name; secrets go. Pure."""

import re
from collections import Counter
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any, Final

PUBLIC: Final = frozenset(
    {"config", "default", "kube-node-lease", "kube-public", "kube-system", "kubernetes", "ktpy", "localhost", "root"}
)
"""These are the same everywhere, and tell nothing of anybody."""
REMOVED: Final = "[...]"

_SECRET: Final = re.compile(
    r"-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|\Z)"
    r"|(?<=://)[^/\s@]+(?=@)"  # user and password of a URL
    r"|(?i:(?<=bearer )|(?<=basic ))\S+"
    r"|eyJ[\w-]*\.[\w.-]*"  # a JSON Web Token
    r"|(?<![0-9A-Za-z])[0-9a-fA-F]{32,}(?![0-9A-Za-z])"
    r"|(?<![\w+/-])(?=[\w+/-]*[A-Z])(?=[\w+/-]*[a-z])(?=[\w+/-]*[0-9])[\w+/-]{24,}=*",  # base64
    re.DOTALL | re.ASCII,
)
_ASSIGNED: Final = re.compile(r"(?i)\b((?:password|passwd|secret|token|api[-_]?key)[\"']?\s*[=:]\s*[\"']?)[^\s\"',;]+")
_MAIL: Final = re.compile(r"([\w.+-]+)@([\w.-]+\w)")
_IPV4: Final = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\d)")
_IPV6: Final = re.compile(r"(?<![\w:.])(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}(?:\d*\.\d+\.\d+\.\d+)?(?![\w:])")
_HOST: Final = re.compile(
    r"(?<![\w.@-])(?:[a-zA-Z0-9_](?:[\w-]*[a-zA-Z0-9])?\.)+"
    r"(?:com|net|org|edu|gov|mil|int|info|biz|dev|app|cloud|tech|local|localdomain|lan|corp|home|internal|intranet|private"
    r"|arpa|example|test|(?!py|sh|so|rs|md|js|go)[a-z]{2})(?![\w-])",
    re.IGNORECASE,
)
_OF_KUBERNETES: Final = re.compile(
    r"(?:.*\.)?(?:k8s\.io|kubernetes\.io|cluster\.local|ktpy\.(?:dev|internal)|ghcr\.io)"
)
"""Names of Kubernetes' own and of ktpy's; what of the user's is before `cluster.local` are words of their own."""
_OF_USERS: Final = frozenset({"baggage", "environment", "selector", "variables"})
"""The keys of these objects are the user's words."""


class Anonymiser:
    """An Anonymiser puts stand-ins such as `service3` in the place of words, and of what looks like a name."""

    def __init__(self, words: Iterable[tuple[str, str]]) -> None:
        """`words` are pairs of a kind and a word of it. A word is found between others, not in the middle of one."""
        known = {word: kind for kind, word in words if word and _normal(word) not in PUBLIC}
        self._words = frozenset(map(_normal, known))
        self._stand_ins: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        """How many of each kind have a stand-in."""
        for word, kind in known.items():
            self._stand_in(kind, _normal(word))
        # Names of variables have `_` where those of services have `-`.
        alternatives = "|".join(re.escape(one).replace(r"\-", "[-_]") for one in sorted(known, key=len, reverse=True))
        self._any = re.compile(rf"(?<![^\W_])(?:{alternatives})(?![^\W_])", re.IGNORECASE) if known else None

    def value(self, value: Any) -> Any:
        """Return a JSON value with stand-ins in all its strings."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {
                key: {self.text(name): self.value(one) for name, one in item.items()}
                if key in _OF_USERS and isinstance(item, dict)
                else self.value(item)
                for key, item in value.items()
            }
        return [self.value(one) for one in value] if isinstance(value, list | tuple) else value

    def text(self, text: str) -> str:
        """Return a text with stand-ins."""
        text = _ASSIGNED.sub(rf"\1{REMOVED}", _SECRET.sub(REMOVED, text))
        text = _MAIL.sub(self._mail, text)
        text = _IPV6.sub(self._address, _IPV4.sub(self._address, text))
        text = _HOST.sub(self._host, text)
        return self._any.sub(self._word, text) if self._any else text

    def _word(self, match: re.Match[str]) -> str:
        return self._stand_ins.get(_normal(match[0]), REMOVED)  # where Unicode has several small letters for one

    def _mail(self, match: re.Match[str]) -> str:
        return f"{self._name('user', match[1])}@{self._name('host', match[2])}"

    def _host(self, match: re.Match[str]) -> str:
        return match[0] if _OF_KUBERNETES.fullmatch(match[0].lower()) else self._name("host", match[0])

    def _address(self, match: re.Match[str]) -> str:
        try:
            is_private = ip_address(match[0]).is_private
        except ValueError:  # a time, or a version
            return match[0]
        return match[0] if is_private else self._name("address", match[0])

    def _name(self, kind: str, name: str) -> str:
        normal = _normal(name)
        return name if normal in PUBLIC or normal in self._stand_ins.values() else self._stand_in(kind, normal)

    def _stand_in(self, kind: str, normal: str) -> str:
        """Return the word's stand-in, which is part of no word."""
        while normal not in self._stand_ins:
            self.counts[kind] += 1
            if not any((stand_in := f"{kind}{self.counts[kind]}") in word for word in self._words):
                self._stand_ins[normal] = stand_in
        return self._stand_ins[normal]


def _normal(word: str) -> str:
    return word.lower().replace("_", "-")
