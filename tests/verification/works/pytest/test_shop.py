import pathlib
import pytest
import shop
from shop import Refused, Shop

@pytest.mark.parametrize("number", [1, 2])
def test_parameters(number, doubled): assert doubled(number) == 2 * number
@pytest.mark.parametrize("number", [1, 9])
def test_one_of_several_fails(number): assert number == 1
def test_fixtures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shop, "rate", lambda: 5)
    assert shop.taxed(2) == 10
    shop.shout()
    assert capsys.readouterr().out == "loud\n"
def test_raises():
    with pytest.raises(Refused, match="no cup"): Shop().take("cup")
def test_about(): assert shop.taxed(1 / 3) == pytest.approx(0.33333333)
def test_files(): assert pathlib.Path(__file__).with_name("data.txt").read_text() == "5"
def test_fails(): assert shop.taxed(1) == 2
def test_skips(): pytest.skip("no")
@pytest.mark.xfail
def test_is_known(): assert 0
@pytest.mark.xfail
def test_is_better_than_known(): pass
