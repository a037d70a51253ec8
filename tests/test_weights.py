"""Model cards: what ships, and that damage or a slip in a card is one clear line."""

import hashlib
import re

import pytest

from haarmony import weights


def test_every_shipped_model_is_whole_and_small():
    cards = weights.cards()
    assert {name: set(card.scores) for name, card in cards.items()} == {
        "medical": {"MRI-CT", "MRI-PET", "MRI-SPECT"},
        "infrared": {"street"},
        "dif-fusion": {"street"},
        "ddpm-mri": {"validation"},
    }
    total = 0
    for name, card in cards.items():
        folder = weights.find(name)
        assert card.name == name
        assert card.scores
        for file, expected in card.sha256.items():
            content = weights.verified(folder, file, card)
            assert hashlib.sha256(content).hexdigest() == expected
            assert not re.search(rb"\w{3}\.py|/home/|site-packages", content)  # no trace of who exported it
            total += len(content)
        assert {path.name for path in folder.iterdir()} == {"card.toml", *card.sha256}
    assert total < 40e6


def test_a_model_is_found_by_name_or_folder(tmp_path):
    assert weights.find("medical") == weights.SHIPPED / "medical"
    assert weights.find(weights.SHIPPED / "medical") == weights.SHIPPED / "medical"
    with pytest.raises(ValueError, match="choose one of dif-fusion, infrared, medical"):
        weights.find(tmp_path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda text: text + "\n]", "not readable as TOML"),
        (lambda text: 'nick = "x"\n' + text, "nick: Extra inputs"),
        (lambda text: text.replace('name = "medical"', ""), "name: Field required"),
        (lambda text: text.replace('prediction = "x_0"', 'prediction = "eps"'), "predict v or x_0"),
        (lambda text: text.replace('codec = "haar"', 'codec = "jpeg"'), "unknown codec 'jpeg'"),
    ],
)
def test_a_bad_card_is_named_with_its_key(tmp_path, change, problem):
    text = (weights.SHIPPED / "medical" / "card.toml").read_text(encoding="utf-8")
    (tmp_path / "card.toml").write_text(change(text), encoding="utf-8")
    with pytest.raises(ValueError, match=r"card\.toml: ") as caught:
        weights.load_card(tmp_path)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_the_card_does_not_list_is_not_loaded():
    card = weights.load_card(weights.find("medical"))
    with pytest.raises(ValueError, match="lists no file extra"):
        weights.verified(weights.find("medical"), "extra.onnx", card)
