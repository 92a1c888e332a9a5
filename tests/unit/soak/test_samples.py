"""The file of the samples."""

from pathlib import Path

from tests.soak.samples import Sample, SampleFile, Series


def test_samples_are_in_the_file_before_it_is_closed(tmp_path: Path) -> None:
    file = SampleFile(tmp_path / "samples.csv")
    file.write([Sample(60.04, Series("shadow of connect: sshd", "rss_mb"), 12.3456789)])
    lines = file.path.read_text().splitlines()
    file.close()
    assert lines == ["at_s,who,figure,value", "60.0,shadow of connect: sshd,rss_mb,12.3457"]
