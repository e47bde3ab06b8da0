"""What a user says of an image: checked when it is said."""

from __future__ import annotations

import pickle

import pytest

from alos2tut import Alos2TutError
from alos2tut.dataset.config import DatasetConfig
from alos2tut.products.given import Given


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"scale": "decibel"}, "unknown scale 'decibel'"),
        ({"quantity": "sigma"}, "unknown quantity 'sigma'.*Did you mean 'sigma0'"),
        ({"polarization": "HH,XX"}, "unknown polarisation 'XX'"),
        ({"polarization": "HH, HH"}, "names HH twice"),
        ({"polarization": ""}, "unknown polarisation ''"),
        ({"sensor": " "}, "says nothing"),
        ({"spacing_m": (1, 2, 3)}, "rows, columns"),
        ({"spacing_m": (1, -2)}, "spacing_m=-2"),
        ({"spacing_m": (1, float("nan"))}, "spacing_m=nan"),
        ({"no_data": "none"}, "no number"),
        ({"no_data": True}, "no number"),
    ],
)
def test_what_cannot_be_is_refused(said, message):
    with pytest.raises(Alos2TutError, match=message):
        Given(**said)


def test_a_config_says_it_too():
    config = DatasetConfig(scale="db", quantity="gamma0", polarization="HH, HV", spacing_m=[5, 10], no_data=-99)
    given = Given.of(config, crs="EPSG:32654")
    assert given == Given(
        crs="EPSG:32654", scale="db", quantity="gamma0", polarization="HH, HV", spacing_m=(5, 10), no_data=-99
    )
    assert given.polarizations == ("HH", "HV")
    said = "scale=db, quantity=gamma0, polarization=HH, HV, spacing_m=(5.0, 10.0), no_data=-99.0, crs=EPSG:32654"
    assert given.to_text() == said
    assert Given().of_pixels == {} and pickle.loads(pickle.dumps(given)) == given


def test_what_files_say_themselves_is_not_to_be_said():
    Given(polarization="HH", crs="EPSG:32654", scan=1).refuse("here", "a product as JAXA delivers it")
    with pytest.raises(Alos2TutError, match=r"here: is a product as JAXA delivers it.*scale='db', no_data=0"):
        Given(scale="db", no_data=0).refuse("here", "a product as JAXA delivers it")
