"""Tables of an analysis."""

import numpy as np

from jles.analysis.reports.outcome import table_text


def test_tables_have_units_in_their_first_line_and_empty_cells_for_unknowns():
    text = table_text({"time (fs)": np.array([0.0, 0.5]), "error": np.array([np.nan, 1e-12])})
    assert text == "time (fs),error\n0,\n0.5,1e-12\n"
