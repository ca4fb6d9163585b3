"""The precision of a network's products is part of its config, and can be chosen at loading."""

import jles
from jles.models.describe import describe
from jles.models.store import save_model
from tests.support.messages import message_of
from tests.support.small_systems import small_config, small_model

CONFIG = small_config()


def test_a_model_says_its_precision_where_it_is_not_the_highest():
    _, params = small_model(CONFIG)
    assert "precision" not in describe(CONFIG, params)
    assert "high, of the network's products" in describe(
        CONFIG.replace(precision="high"), params
    )


def test_the_precision_is_stored_and_can_be_replaced(tmp_path):
    _, params = small_model(CONFIG)
    save_model(tmp_path, CONFIG.replace(precision="default"), params)
    assert jles.load(tmp_path).config.precision == "default"
    assert jles.load(tmp_path, precision="highest").config.precision == "highest"
    message = message_of(jles.load, tmp_path, precision="tf32")
    assert "precision" in message
    assert "highest" in message
