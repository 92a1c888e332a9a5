import pytest
from ktpy_agent.gateway_spec import find_annotation, parse_spec

from ktpy.wire.gateway import GatewaySpec, SpecError

SPEC = GatewaySpec("web", None, ())


def test_the_spec_among_other_annotations() -> None:
    # The kubelet quotes a value by Go's %q, which for such text is JSON's quoting.
    value = SPEC.document().replace('"', '\\"')
    assert parse_spec(f'a="b"\nktpy.dev/gateway="{value}"\nz="\\x00"\n') == SPEC


def test_quotes_and_backslashes_survive() -> None:
    assert find_annotation('a="say \\"x\\" \\\\ \\n\\u00e9"', "a") == 'say "x" \\ \n\u00e9'


@pytest.mark.parametrize("text", ["", 'ktpy.dev/gateway="{"', 'ktpy.dev/gateway="\\x00"', 'ktpy.dev/gateway="[]"'])
def test_text_that_holds_no_spec_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        parse_spec(text)
