"""`jles info`."""

from jles.cli.main import main


def test_info_names_what_the_model_is(model_path, capsys):
    assert main(["info", str(model_path)]) == 0
    printed = capsys.readouterr().out
    words = ("H, O", "cutoff: 3.0", "sigma", "eV", "-7.0", "energy, charges")
    assert all(word in printed for word in words)
    assert "receptive field 3 angstrom" in printed
    assert "million operations per atom" in printed
