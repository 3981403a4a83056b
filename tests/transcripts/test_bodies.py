"""The text of a mail: what a reader sees, nothing hidden, whatever the sender put in."""

from __future__ import annotations

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joshi.transcripts.bodies import html_body, plain_body

MARKERS = (
    "<!-- PROCWISE_MARKER:workflow:WF-1|k:v -->",
    "<!-- PROCWISE:UID=PROC-WF-9 -->",
    "<!-- RFQ-ID R-7\n -->",
)


def test_html_reads_as_on_a_screen() -> None:
    source = """<html><head><title>Quote</title><style>p{color:red}</style></head><body>
      <!--[if mso]><p>Outlook</p><![endif]-->
      <p>Dear Pooja,<br>the   rate is <b>8.40</b>&nbsp;&euro; &amp; freight&#33;</p>
      <SCRIPT type="text/javascript">if (a < b) send("x");</SCRIPT>
      <ul><li>30 days</li><li>net 45</li></ul>
      <table><tr><td>M10</td><td>7.50</td></tr><tr><td>M12</td><td>9</td></tr></table>
      <img alt="a > b" src=x>Raghav &lt;b&gt;</body></html>"""
    assert html_body(source) == (
        "Dear Pooja,\nthe rate is 8.40 € & freight!\n\n- 30 days\n- net 45\n\nM10 7.50\nM12 9\n\nRaghav <b>"
    )


@given(st.text())
def test_what_a_writer_escaped_comes_back(text: str) -> None:
    assert html_body(f"<p>{html.escape(text)}</p>").split() == text.split()


@given(st.lists(st.sampled_from([*MARKERS, "Rate 8%", "\n", "-->", "<b>", " "])), st.booleans())
def test_no_hidden_marker_survives(pieces: list[str], as_html: bool) -> None:
    text = "".join(pieces)
    seen = html_body(text) if as_html else plain_body(text)
    assert "PROCWISE" not in seen and "RFQ-ID" not in seen
    assert seen.count("Rate 8%") == text.count("Rate 8%")


def test_a_marker_that_was_cut_off_hides_its_own_line_only() -> None:
    assert plain_body("Rate 8%\n<!-- PROCWISE:UID=PROC\nRaghav") == "Rate 8%\n\nRaghav"


@pytest.mark.parametrize(
    "piece",
    ["<a ", "<!", "<![", "<!--", "<?", "</", '<a b="', "<a '\"", "&#", "<script>", "<title", "  ", '<a =" "'],
)
def test_hostile_html_of_a_megabyte_is_read(piece: str) -> None:
    # Each of these takes hours where every piece looks for its end through all the rest.
    assert html_body("Rate 8% " + piece * (2**20 // len(piece))).startswith("Rate 8%")
