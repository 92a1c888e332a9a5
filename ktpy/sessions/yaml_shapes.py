"""Shapes that YAML is to have: values are read by them, with the place of what has another shape, and editors get them
as JSON schema."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ktpy.errors import UsageError, unknown

TEXT, NUMBER, SWITCH, ANYTHING = "text", "number", "true or false", "anything"
"""Shapes of values. A tuple is a list, of what is in it; a mapping has these keys; a frozenset is one of its words."""
NULL: Final = "tag:yaml.org,2002:null"
MERGE: Final = "tag:yaml.org,2002:merge"
_TAGS: Final = {TEXT: ("str", "int", "float", "bool"), NUMBER: ("int",), SWITCH: ("bool",)}
_TYPES: Final = {TEXT: ["string", "number", "boolean"], NUMBER: ["integer"], SWITCH: ["boolean"]}
_KINDS: Final = {"mapping": "a map of keys", "sequence": "a list"}


def schema(shape: Any, said: Mapping[str, str], where: str = "") -> dict[str, Any]:
    """Return the shape as JSON schema (2020-12); `said` describes keys by their dotted names. Null is a default."""
    described = {"description": said[where]} if where in said else {}
    if shape == ANYTHING:
        return described
    if isinstance(shape, frozenset):
        return {**described, "enum": [*sorted(shape), "", None]}
    if isinstance(shape, tuple):
        return {**described, "type": ["array", "null"], "items": schema(shape[0], said, where)}
    if not isinstance(shape, Mapping):
        return {**described, "type": [*_TYPES[shape], "null"]}
    keys = {key: schema(one, said, f"{where}.{key}".strip(".")) for key, one in shape.items()}
    return {**described, "type": ["object", "null"], "properties": keys, "additionalProperties": False}


def top_keys(node: Any) -> set[str]:
    """Return the keys of a node of YAML; none where it is no map."""
    return {key.value for key, _ in node.value} if node.id == "mapping" else set()


class ShapeReader:
    """A ShapeReader turns nodes of YAML, which know their places, into values of the shapes that are wanted."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._places: dict[int, tuple[Any, dict[str, str]]] = {}

    def place(self, node: Any) -> str:
        """Return the name of the text, with line and column."""
        return f"{self._name}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"

    def places(self, found: Any) -> Mapping[str, str]:
        """Return the places of the values of a mapping that this reader has returned, by their keys."""
        return self._places[id(found)][1] if id(found) in self._places else {}

    def value(self, node: Any, shape: Any, where: str = "") -> Any:
        """Return the value; `where` is the dotted name of what it is. Raises UsageError with line and column."""
        import yaml  # not before it is needed

        if node.tag == NULL or shape == ANYTHING:
            return yaml.SafeLoader("").construct_object(node, deep=True)
        if isinstance(shape, Mapping):
            return self._mapping(node, shape, where)
        if isinstance(shape, tuple):
            if not isinstance(node, yaml.SequenceNode):
                raise self._wrong(node, where, "a list")
            return [self.value(one, shape[0], where) for one in node.value]
        if isinstance(shape, frozenset):
            return self._word(node, shape, where)
        if not isinstance(node, yaml.ScalarNode) or node.tag.rpartition(":")[2] not in _TAGS[shape]:
            raise self._wrong(node, where, shape)
        if "\0" in node.value:
            raise self._wrong(node, where, "text without a null character")
        return node.value if shape == TEXT else yaml.safe_load(node.value)

    def _word(self, node: Any, words: frozenset[str], where: str) -> str:
        word: str = self.value(node, TEXT, where)
        if word and word not in words:
            raise self._unknown(node, f"{where} is {word}, not one of {', '.join(sorted(words))}", word, words)
        return word

    def _mapping(self, node: Any, shape: Mapping[str, Any], where: str) -> dict[str, Any]:
        import yaml

        if not isinstance(node, yaml.MappingNode):
            raise self._wrong(node, where, "a map of keys")
        found: dict[str, Any] = {}
        places: dict[str, str] = {}
        self._places[id(found)] = found, places
        said: set[str] = set()
        for key, _ in node.value:
            if (name := str(key.value)) in said:
                raise UsageError(f"{self.place(key)}: {where or 'The file'} has {name} twice.")
            said.add(name)
        for key, value in self._pairs(node):
            name = str(key.value)
            if name not in shape:
                raise self._unknown(key, f"{where or 'The file'} has no key {name}", name, shape)
            places[name] = self.place(value)
            found[name] = self.value(value, shape[name], f"{where}.{name}".strip("."))
        return found

    def _pairs(self, node: Any) -> Iterator[tuple[Any, Any]]:
        """Yield keys and values of a map: what `<<` merges into it, then its own. The last of a key holds."""
        import yaml

        for key, value in node.value:
            if key.tag == MERGE:
                for one in reversed(value.value) if isinstance(value, yaml.SequenceNode) else (value,):
                    if not isinstance(one, yaml.MappingNode):
                        raise self._wrong(one, "<<", "a map of keys, or a list of such maps")
                    yield from self._pairs(one)
        yield from (pair for pair in node.value if pair[0].tag != MERGE)

    def _unknown(self, node: Any, text: str, word: str, known: Any) -> UsageError:
        return unknown(f"{self.place(node)}: {text}", word, known)

    def _wrong(self, node: Any, where: str, wanted: str) -> UsageError:
        found = _KINDS.get(node.id, f"{node.value!r}" if node.tag == "tag:yaml.org,2002:str" else f"{node.value}")
        return UsageError(f"{self.place(node)}: {where or 'the file'} is {found}, not {wanted}.")
