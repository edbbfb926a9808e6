"""`TextVAE` among scikit-learn's estimators."""

import pickle
import shutil

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks, get_tags

from jvae.errors import UserError
from jvae.estimator import TextVAE
from tests.tiny import SENTENCES, sizes

APPLY = (
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_set_params",
    "check_valid_tag_types",
)
# scikit-learn runs none of its checks on estimators of text: those named here fit numbers.
NUMBERS = "it fits or transforms arrays of numbers, which are no sentences"
DO_NOT_APPLY = {
    "check_parameters_default_constructible": "the folder of the runs has no default",
    "check_estimators_unfitted": "it predicts numbers; see test_nothing_is_read_before_fit",
    "check_fit_score_takes_y": NUMBERS,
    "check_estimators_fit_returns_self": NUMBERS,
    "check_estimators_overwrite_params": NUMBERS,
    "check_dont_overwrite_parameters": NUMBERS,
    "check_estimators_pickle": NUMBERS,
    "check_fit_check_is_fitted": NUMBERS,
    "check_fit_idempotent": NUMBERS,
    "check_readonly_memmap_input": NUMBERS,
    "check_n_features_in_after_fitting": "texts have no features",
    "check_positive_only_tag_during_fit": "texts have no sign",
    "check_transformer_general": NUMBERS,
    "check_transformers_unfitted": NUMBERS,
}


@pytest.fixture(scope="module")
def vae(finished) -> TextVAE:
    return TextVAE.from_run(finished.workdir)


@pytest.mark.parametrize("name", APPLY)
def test_the_checks_of_scikit_learn_that_apply(name, tmp_path):
    getattr(estimator_checks, name)("TextVAE", TextVAE(tmp_path))


def test_the_other_checks_of_an_estimators_interface_have_a_reason():
    checks = estimator_checks._yield_api_checks(StandardScaler())
    names = {getattr(check, "func", check).__name__ for check in checks}
    assert names <= {*APPLY, *DO_NOT_APPLY}


def test_the_tags_are_those_of_a_text_vectoriser(tmp_path):
    tags = get_tags(TextVAE(tmp_path)).input_tags
    assert tags.string and not tags.two_d_array


def test_nothing_is_read_before_fit(tmp_path):
    for use in (
        lambda vae: vae.transform(SENTENCES),
        lambda vae: vae.inverse_transform(np.zeros((1, 2))),
        lambda vae: vae.get_feature_names_out(),
    ):
        with pytest.raises(NotFittedError):
            use(TextVAE(tmp_path))


def test_columns_have_names(vae):
    assert vae.get_feature_names_out().tolist() == ["textvae0", "textvae1"]
    scaled = make_pipeline(vae, StandardScaler().fit(vae.transform(SENTENCES)))
    assert scaled.get_feature_names_out().tolist() == ["textvae0", "textvae1"]


class Frame:
    """What a DataFrame tells of itself, whose iteration gives names of columns."""

    ndim, shape = 2, (2, 1)

    def __iter__(self):
        return iter(["text"])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("a cat", r"a list, not a single text: give \['a cat'\]"),
        (np.array([["a", "b"], ["c", "d"]]), r"shape \[2, 2\]: give one column"),
        (Frame(), r"shape \[2, 1\]: give one column"),
        (["a", None], "sentence 2 is None"),
        (np.array(["a", float("nan")], object), "sentence 2 is nan"),
        (["a", "b", b"x"], "sentence 3 is b'x' .*decode it"),
        ({"a", "b"}, "not of type set"),
        (["a", "\n"], "sentence 2 is blank"),
    ],
)
def test_what_is_no_list_of_sentences(vae, wrong, says, tmp_path):
    for use in (vae.transform, TextVAE(tmp_path).fit):
        with pytest.raises(UserError, match=says):
            use(wrong)
    assert list(tmp_path.iterdir()) == []


def test_sequences_of_texts_are_sentences(vae):
    expected = vae.transform(SENTENCES)
    for same in (tuple(SENTENCES), np.array(SENTENCES), np.array(SENTENCES, object)):
        np.testing.assert_array_equal(vae.transform(same), expected)


def test_a_pickle_says_where_its_run_is(finished, tmp_path, monkeypatch):
    shutil.copytree(finished.workdir, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    kept = pickle.dumps(TextVAE.from_run("run"))
    monkeypatch.chdir("/")
    revived = pickle.loads(kept)
    assert revived.run_dir_ == str(tmp_path / "run")
    assert revived.transform(SENTENCES).shape == (4, 2)
    (tmp_path / "run").rename(tmp_path / "other")
    with pytest.raises(UserError, match=r"run, the run directory of this TextVAE, is gone.*put it"):
        pickle.loads(kept).transform(SENTENCES)


@pytest.mark.slow
def test_a_grid_search_in_two_processes(finished, tmp_path):
    texts = finished.train.read_text().splitlines()
    labels = [len(text.split()) > 5 for text in texts]
    model = make_pipeline(TextVAE(tmp_path, sizes() | {"training.epochs": 1}), LogisticRegression())
    # Both values of C want the same runs of TextVAE at the same time.
    search = GridSearchCV(
        clone(model), {"logisticregression__C": [0.1, 1.0]}, cv=2, n_jobs=2, error_score="raise"
    )
    search.fit(texts, labels)
    assert search.predict(texts[:3]).shape == (3,)
    assert len(list(tmp_path.iterdir())) == 3  # two folds, and all
