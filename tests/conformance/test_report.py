from conformance import report


def test_the_page_is_up_to_date():
    assert report.PAGE.read_text() == report.render(), "run tests/conformance/freeze.py"
