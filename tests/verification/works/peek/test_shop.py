import shop
EXPECTED = "the expected value"

def test_nothing_is_found():
    expected = "the expected value"
    assert shop.peek() == []
    assert shop.frames() == []
