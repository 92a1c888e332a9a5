from pathlib import Path

import pytest

from ktpy.image import dockerfile

ROOT = Path(__file__).parents[3] / "agent-image"


def test_the_agents_own() -> None:
    """What the image has, where no engine reads the Dockerfile."""
    recipe = dockerfile.parse((ROOT / "Dockerfile").read_text())
    assert set(recipe.packages) == {"haproxy", "libffi8", "libnss-extrausers", "openssh-server", "python3-minimal"}
    assert ("ktpy/wire", "/usr/lib/ktpy/ktpy/wire") in recipe.copies
    assert not any("shrink" in source for source, _ in recipe.copies)
    assert recipe.imports.startswith("import sys; sys.path += ['agent-image', '.']; from ktpy_agent import")
    assert recipe.config["User"] == "65532:65532"
    assert recipe.config["Env"] == ["PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin", "LANG=C.UTF-8"]
    assert recipe.config["ExposedPorts"] == {"2222/tcp": {}, "2223/tcp": {}}
    assert recipe.config["Entrypoint"][:2] == ["/bin/sh", "-c"]
    assert (recipe.config["Cmd"], recipe.config["Labels"]["org.opencontainers.image.title"]) == (
        ["shadow"],
        "ktpy agent",
    )
    removed = dockerfile.removable((ROOT / "shrink").read_text())
    assert {"apt", "perl-base", "systemd", "util-linux"} <= removed
    assert not removed & set(recipe.packages)


@pytest.mark.parametrize(
    "text", ["FROM a\nRUN true", 'FROM a\nRUN apt-get install x\n python3 -IS -c "1"\nFROM b\nVOLUME /x']
)
def test_what_it_does_not_know(text: str) -> None:
    with pytest.raises(ValueError):
        dockerfile.parse(text.replace("x\n python3", "x && python3"))
    with pytest.raises(ValueError):
        dockerfile.removable(text)
