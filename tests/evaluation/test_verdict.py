import pytest

from jvae.evaluation.verdict import Measures, verdict

USED = Measures(
    kl=6.54,
    mi=5.31,
    active_units=32,
    latent_size=32,
    examples=3761,
    shuffled_gap=9.1,
    shuffled_gap_error=0.2,
)


def test_a_used_latent_in_one_line():
    result = verdict(USED, "sentence")
    assert result.label == "used" and result.hint == ""
    assert str(result) == (
        "used: KL 6.5 nats, MI 5.3 nats, 32 of 32 units active, "
        "a wrong z costs 9.1 nats per sentence"
    )


@pytest.mark.parametrize(
    ("change", "first"),
    [
        (
            {"kl": 0.02, "mi": -0.01, "shuffled_gap": 0.0, "active_units": 0},
            "KL less than 0.1 nats",
        ),
        ({"mi": -0.02}, "MI less than 0.1 nats"),
        # A decoder that ignores an informative posterior.
        ({"shuffled_gap": 0.05}, "a wrong z costs less than 0.1 nats per sentence"),
        ({"shuffled_gap": -0.3}, "a wrong z costs less than 0.1 nats per sentence"),
        # A gap that noise explains is none.
        (
            {"shuffled_gap": 0.4, "shuffled_gap_error": 0.2},
            "a wrong z costs 0.4 nats per sentence (within noise)",
        ),
        ({"active_units": 0, "shuffled_gap": 0.6}, "0 of 32 units active"),
    ],
)
def test_collapsed(change, first):
    result = verdict(USED._replace(**change), "sentence")
    assert result.label == "collapsed"
    assert result.reasons[0] == first
    assert len(result.reasons) == 4
    assert "free bits" in result.hint


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ({"kl": 0.9, "mi": 0.8}, "KL 0.9 nats"),
        ({"mi": 2.0}, "MI 2.0 nats of 6.5 possible"),
        ({"active_units": 3}, "3 of 32 units active"),
        ({"shuffled_gap": 0.9}, "a wrong z costs 0.9 nats per sentence"),
        ({"shuffled_gap": 1.3}, "a wrong z costs 1.3 nats per sentence"),
        # A latent of small scale that the decoder reads.
        ({"active_units": 0}, "0 of 32 units active"),
    ],
)
def test_partly_used(change, first):
    result = verdict(USED._replace(**change), "sentence")
    assert result.label == "partly used"
    assert result.reasons[0] == first
    assert result.hint


def test_a_small_set_limits_what_information_can_be_shown():
    # log 20 = 3.0 nats: 2 of them are most of what 20 examples can show.
    assert verdict(USED._replace(mi=2.0, examples=20)).label == "used"


def test_one_dimension_can_be_enough():
    assert verdict(USED._replace(latent_size=1, active_units=1)).label == "used"


# KL, MI, active units of 32 as published (He et al. 2019; Li et al. 2019 and Zhu et al. 2020), with
# a gap of the size of the MI: no paper reports one.
@pytest.mark.parametrize(
    ("kl", "mi", "units", "label"),
    [
        (0.0, 0.0, 0, "collapsed"),  # VAE, Yahoo
        (8.0, 0.0, 0, "collapsed"),  # delta-VAE, Yahoo
        (0.93, 0.83, 4, "partly used"),  # aggressive, PTB
        (4.9, 1.3, 32, "partly used"),  # free bits without pretraining, Yelp
        (3.8, 2.4, 11, "used"),  # aggressive, Yelp
        (10.76, 8.08, 32, "used"),  # autoencoder pretraining and free bits, Yahoo
    ],
)
def test_published_models_get_the_word_their_papers_use(kl, mi, units, label):
    measures = Measures(kl, mi, units, 32, 10_000, shuffled_gap=mi, shuffled_gap_error=0.02)
    assert verdict(measures).label == label


def test_measures_of_a_diverged_model_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        verdict(USED._replace(kl=float("nan")))
