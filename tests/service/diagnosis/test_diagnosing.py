import re
import sys
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.encoders.encoder import Projectors
from indexer.scoring.diagnostics import (
    LabelSimilarities,
    modality_gap,
    similarity_histograms,
)
from indexer.scoring.similarity import normalised
from indexer.settings import Settings
from schemas.diagnosis import Diagnosis, DrawnPlot, PlotLeftOut
from schemas.errors import FilterError, InputError, MissingExtraError
from service.axes import AxesChoice
from service.collection import Collection
from service.diagnosis.diagnosing import diagnose
from service.diagnosis.material import (
    DiagnosisChoice,
    Missing,
    PlotLeftOutError,
    gather_material,
    require,
)
from service.diagnosis.plots import label_bias_png
from service.diagnosis.report import report_html
from service.diagnosis.sections import (
    PLOTS,
    Section,
    class_similarities,
    label_bias,
    map_of_modalities,
    modality_similarities,
    projector_spectrum,
    quality_opinions,
)
from tests.fakes import FEATURES, FakeEncoder
from tests.makers.stores import BAND, NOON, described, image_rows, new_store

LABELS = ("red", "blue", "green")
N_PHOTOS = 30


def features_of_three_kinds():
    """Photos in three bundles along different axes, numbered in turn."""
    noise = np.random.default_rng(0).normal(0, 0.1, (N_PHOTOS, FEATURES))
    return (np.eye(FEATURES)[np.arange(N_PHOTOS) % 3] + noise).astype(np.float16).astype("f4")


def opened(store):
    return Collection(store, Settings(collection=store.uri, threads=1), FakeEncoder())


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """Thirty photos of three kinds, with the fake encoder."""
    place = tmp_path_factory.mktemp("diagnosis") / "collection"
    return opened(new_store(place, features=features_of_three_kinds()))


@pytest.fixture(scope="module")
def vectors_only(tmp_path_factory):
    """The same photos as vectors of a model that is not known."""
    model = described(id="someone's", spaces=("clip",), linear_image_head=False, preprocessing=None)
    store = new_store(
        tmp_path_factory.mktemp("diagnosis") / "vectors",
        model=model,
        projectors=Projectors(None, np.eye(FEATURES, dtype=np.float32)),
        features=features_of_three_kinds(),
        source=None,
        band=None,
        origin="vectors",
    )
    return Collection(store, Settings(collection=store.uri, threads=1))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Labels, opinions that grow with the quality of the photos, and words for each dimension."""
    folder = tmp_path_factory.mktemp("files")
    rows = [f"{image_id},{LABELS[image_id % 3]}" for image_id in range(N_PHOTOS)]
    (folder / "labels.csv").write_text("\n".join(["image_id,label", *rows]))
    rows = [f"{image_id},{image_id + 1}" for image_id in range(N_PHOTOS)]
    (folder / "mos.csv").write_text("\n".join(["image_id,mos", *rows]))
    named_file(folder / "words.npz", [f"word {number}" for number in range(40)])
    named_file(folder / "labels.npz", LABELS, seed=4)
    named_file(folder / "red.npz", ["red"])
    return folder


@pytest.fixture(scope="module")
def choice(files):
    """All that a diagnosis can be given."""
    return DiagnosisChoice(
        labels=str(files / "labels.csv"),
        opinions=files / "mos.csv",
        dictionary_embeddings=files / "words.npz",
        seed=7,
    )


@pytest.fixture(scope="module")
def drawn(collection, choice, tmp_path_factory):
    """A diagnosis with all plots, in a folder that had to be made."""
    return diagnose(collection, tmp_path_factory.mktemp("drawn") / "a" / "folder", choice)


def named_file(place, names, *, seed=3):
    embeddings = np.random.default_rng(seed).normal(0.2, 1, (len(names), FEATURES))
    np.savez(place, names=np.array(names), embeddings=embeddings.astype(np.float32))
    return place


def labels_in(place, *rows):
    place.write_text("\n".join(["image_id,label", *rows]))
    return str(place)


def reason_of(part: object) -> str:
    assert isinstance(part, Missing)
    return part.reason


def numbers(diagnosis: Diagnosis, name: str) -> dict[str, float]:
    (found,) = [plot.numbers for plot in diagnosis.plots if plot.name == name]
    return found


class _Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


class TestDiagnose:
    def test_draws_every_plot_where_all_is_given(self, drawn):
        assert [plot.name for plot in drawn.plots] == list(PLOTS)
        assert drawn.left_out == []
        for plot in drawn.plots:
            with Image.open(plot.file) as picture:
                assert (picture.format, picture.width) == ("PNG", 1440)
                assert len(picture.convert("L").getcolors() or ()) > 50
        assert (drawn.n_images, drawn.n_sampled, drawn.n_labelled, drawn.n_texts) == (
            30,
            30,
            30,
            40,
        )
        assert sorted(path.name for path in Path(drawn.report).parent.iterdir()) == sorted(
            ["report.html", *(f"{name}.png" for name in PLOTS)]
        )

    def test_measures_what_the_pictures_show(self, drawn, choice):
        images = normalised(features_of_three_kinds())
        words = normalised(np.load(choice.dictionary_embeddings)["embeddings"])
        similar = images.astype(np.float64) @ images.T.astype(np.float64)
        among = [similar[pair] for pair in combinations(range(N_PHOTOS), 2)]
        assert numbers(drawn, "modality-gap")["gap"] == pytest.approx(
            modality_gap(images, words), abs=1e-6
        )
        found = numbers(drawn, "modality-similarities")
        assert found["mean_photo_and_photo"] == pytest.approx(np.mean(among), abs=1e-6)
        assert found["mean_photo_and_text"] == pytest.approx(np.mean(images @ words.T), abs=1e-6)
        # Three bundles at right angles: no pair of two kinds is as similar as one of a kind.
        assert numbers(drawn, "class-similarities")["overlap_clip"] == 0
        assert numbers(drawn, "spectrum") == {
            "rank": FEATURES,
            "kept": FEATURES - BAND.k_top - BAND.k_bottom,
            "kept_share": pytest.approx(9 / 12),
        }
        assert numbers(drawn, "opinions") == {"srcc_quality": pytest.approx(1)}
        assert set(numbers(drawn, "class-similarities")) == {
            f"overlap_{space}" for space in ("clip", "isoclip", "trunk", "semantic")
        }

    def test_tells_which_options_were_given(self, drawn, choice):
        assert drawn.given == {
            "labels": choice.labels,
            "dictionary-embeddings": str(choice.dictionary_embeddings),
            "mos": str(choice.opinions),
        }

    def test_answers_with_one_json_document(self, drawn):
        assert Diagnosis.model_validate_json(drawn.model_dump_json()) == drawn

    def test_replaces_a_report_and_keeps_what_is_not_its_own(self, vectors_only, files, tmp_path):
        (tmp_path / "report.html").write_text("old")
        (tmp_path / "mine.txt").write_text("keep")
        choice = DiagnosisChoice(labels=str(files / "labels.csv"))
        found = diagnose(vectors_only, tmp_path, choice)
        assert Path(found.report).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {"class-similarities.png", "mine.txt", "report.html"}

    def test_of_vectors_without_texts_draws_what_needs_none(self, vectors_only, files, tmp_path):
        choice = DiagnosisChoice(labels=str(files / "labels.csv"))
        found = diagnose(vectors_only, tmp_path / "report", choice)
        assert [plot.name for plot in found.plots] == ["class-similarities"]
        assert set(found.plots[0].numbers) == {"overlap_clip"}
        assert 'The space semantic is not shown: the model "someone\'s"' in found.plots[0].finding
        reasons = {plot.name: plot.reason for plot in found.left_out}
        for name in ("modality-similarities", "modality-gap", "map", "label-bias"):
            assert "is known by its vectors only" in reasons[name]
        assert reasons["spectrum"].startswith("the space isoclip has no band here")
        assert found.n_texts == 0

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"where": "image_id > 99"}, "no photo matches 'image_id > 99'; leave out --where"),
            ({"n_images": 0}, "number of photos must be at least 1, got 0"),
            ({"labels": "nowhere.csv"}, "nowhere.csv does not exist"),
        ],
    )
    def test_refuses_what_cannot_be_used(self, collection, tmp_path, options, message):
        with pytest.raises(InputError, match=message):
            diagnose(collection, tmp_path / "report", DiagnosisChoice(**options))

    def test_refuses_a_condition_that_is_none(self, collection, tmp_path):
        with pytest.raises(FilterError, match="colour"):
            diagnose(collection, tmp_path / "report", DiagnosisChoice(where="colour = 3"))

    def test_refuses_an_empty_collection(self, tmp_path):
        empty = opened(new_store(tmp_path / "collection"))
        with pytest.raises(InputError, match="holds no photo; index some first"):
            diagnose(empty, tmp_path / "report", DiagnosisChoice())

    def test_refuses_a_file_in_place_of_the_folder(self, collection, tmp_path):
        (tmp_path / "report").write_text("")
        with pytest.raises(InputError, match=r"report is a file; name a folder"):
            diagnose(collection, tmp_path / "report", DiagnosisChoice())

    def test_refuses_a_folder_that_cannot_be_made(self, collection, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match=r"cannot write into .*name another folder"):
            diagnose(collection, tmp_path / "file" / "below", DiagnosisChoice())

    def test_without_matplotlib_names_the_extra_and_writes_nothing(
        self, collection, tmp_path, monkeypatch
    ):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        with pytest.raises(MissingExtraError, match=r'run `pip install "isophote\[plots\]"`'):
            diagnose(collection, tmp_path / "report", DiagnosisChoice())
        assert not (tmp_path / "report").exists()


class TestMaterial:
    def test_the_seed_decides_what_is_drawn(self, collection, files):
        def drawn_with(seed):
            choice = DiagnosisChoice(
                labels=str(files / "labels.csv"),
                dictionary_embeddings=files / "words.npz",
                n_images=12,
                seed=seed,
            )
            material = gather_material(collection, choice)
            assert (len(material.images), material.n_matching) == (12, 30)
            assert len(require(material.labelled).labels) == 12
            return map_of_modalities(material).png

        first = drawn_with(1)
        assert first == drawn_with(1)
        assert first != drawn_with(2)

    def test_does_not_depend_on_the_order_of_rows(self, collection, files, tmp_path):
        choice = DiagnosisChoice(dictionary_embeddings=files / "words.npz", n_images=20)
        store = new_store(tmp_path / "turned")
        rows = image_rows(store, features_of_three_kinds())
        store.append_images(rows.take(np.arange(N_PHOTOS)[::-1]))
        np.testing.assert_array_equal(
            gather_material(opened(store), choice).images,
            gather_material(collection, choice).images,
        )

    def test_draws_from_photos_that_match(self, collection, files):
        choice = DiagnosisChoice(
            labels=str(files / "labels.csv"),
            opinions=files / "mos.csv",
            dictionary_embeddings=files / "words.npz",
            where="image_id < 9",
        )
        material = gather_material(collection, choice)
        assert (material.n_matching, len(material.images)) == (9, 9)
        assert require(material.labelled).image_ids.tolist() == list(range(9))
        assert require(material.opinions).image_ids.tolist() == list(range(9))

    def test_labels_stand_in_for_a_dictionary(self, vectors_only, files):
        choice = DiagnosisChoice(label_embeddings=files / "labels.npz")
        material = gather_material(vectors_only, choice)
        assert (require(material.texts).names, material.text_kind) == (LABELS, "labels")
        assert isinstance(material.dictionary, Missing)

    def test_names_come_from_a_file_or_from_the_labels(self, collection, files, tmp_path):
        (tmp_path / "names.txt").write_text("white\nblack\n")
        labels = str(files / "labels.csv")
        found = gather_material(collection, DiagnosisChoice(labels=labels))
        assert require(found.label_texts).names == ("blue", "green", "red")
        found = gather_material(
            collection, DiagnosisChoice(labels=labels, names=tmp_path / "names.txt")
        )
        assert require(found.label_texts).names == ("white", "black")

    def test_a_single_given_label_spans_no_axes(self, vectors_only, files):
        axes = AxesChoice(label_embeddings=files / "red.npz")
        material = gather_material(vectors_only, DiagnosisChoice(axes=axes))
        assert "1 class name" in reason_of(material.semantic)

    def test_axes_that_were_asked_for_and_cannot_be_are_an_error(self, vectors_only, files):
        axes = AxesChoice(label_embeddings=files / "red.npz", n_axes=3)
        with pytest.raises(InputError, match="1 class name"):
            gather_material(vectors_only, DiagnosisChoice(axes=axes))

    def test_labels_of_photos_outside_the_collection_are_left_out(self, collection, tmp_path):
        (tmp_path / "red").mkdir()
        Image.new("RGB", (20, 20), "red").save(tmp_path / "red" / "red.png")
        material = gather_material(collection, DiagnosisChoice(labels=str(tmp_path)))
        assert reason_of(material.labelled).endswith("is in the collection")

    def test_opinions_of_none_that_match_are_left_out(self, collection, tmp_path):
        (tmp_path / "mos.csv").write_text("image_id,mos\n1,5\n2,4\n4,3")
        choice = DiagnosisChoice(opinions=tmp_path / "mos.csv", where="image_id = 3")
        material = gather_material(collection, choice)
        assert reason_of(material.opinions).endswith("names matches the condition")


class TestSections:
    def test_without_options_each_says_what_it_needs(self, collection):
        material = gather_material(collection, DiagnosisChoice())
        for make, reason in (
            (class_similarities, "it needs labels of photos; give them with --labels"),
            (label_bias, "it needs names of labels; give --names, --labels or --label-embeddings"),
            (quality_opinions, "it needs opinion scores of photos; give them with --mos"),
        ):
            with pytest.raises(PlotLeftOutError, match=reason):
                make(material)

    @pytest.mark.parametrize(
        ("rows", "reason"),
        [
            pytest.param(["1,red", "2,red"], "all 2 have the label 'red'", id="one-label"),
            pytest.param(["1,red", "2,blue"], "no two photos share a label", id="no-pair"),
        ],
    )
    def test_labels_that_give_no_pairs(self, vectors_only, tmp_path, rows, reason):
        choice = DiagnosisChoice(labels=labels_in(tmp_path / "labels.csv", *rows))
        with pytest.raises(PlotLeftOutError, match=reason):
            class_similarities(gather_material(vectors_only, choice))

    def test_a_single_photo_has_no_pair(self, collection, files):
        choice = DiagnosisChoice(dictionary_embeddings=files / "words.npz", where="image_id = 4")
        with pytest.raises(PlotLeftOutError, match="there is only one"):
            modality_similarities(gather_material(collection, choice))

    def test_says_where_texts_span_too_little_to_recover_similarities(self, vectors_only, files):
        choice = DiagnosisChoice(dictionary_embeddings=files / "labels.npz")
        found = modality_similarities(gather_material(vectors_only, choice))
        assert "The texts do not span all 12 dimensions" in found.finding

    def test_says_how_well_similarities_are_recovered(self, drawn):
        (finding,) = [plot.finding for plot in drawn.plots if plot.name == "modality-similarities"]
        found = re.search(r"similarities to 12 of the texts alone.*at most (\S+):", finding)
        assert found is not None
        assert float(found[1]) < 1e-9

    def test_counts_labels_closer_to_words_than_to_photos(self, vectors_only, files, tmp_path):
        # Along the first two axes as the photos of two kinds are, and against those of the third.
        texts = np.eye(FEATURES, dtype=np.float32)[:3] * [[1], [1], [-1]]
        np.savez(tmp_path / "labels.npz", names=np.array(LABELS), embeddings=texts)
        words = np.zeros((2, FEATURES), np.float32)
        words[:, 5] = [1, -1]
        np.savez(tmp_path / "words.npz", names=np.array(["up", "down"]), embeddings=words)
        choice = DiagnosisChoice(
            labels=str(files / "labels.csv"),
            label_embeddings=tmp_path / "labels.npz",
            dictionary_embeddings=tmp_path / "words.npz",
        )
        found = label_bias(gather_material(vectors_only, choice))
        assert found.numbers["labels_closer_to_words"] == 1
        assert found.numbers["mean_dictionary_words"] == pytest.approx(0, abs=1e-6)
        assert found.numbers["mean_photos_of_that_label"] == pytest.approx(1 / 3, abs=0.05)
        assert "Of 3 labels, 1 is closer to unrelated words" in found.finding

    @pytest.mark.parametrize("with_labels", [False, True])
    def test_names_without_photos_of_theirs(self, vectors_only, files, tmp_path, with_labels):
        labels = labels_in(tmp_path / "labels.csv", "1,nobody", "2,nowhere")
        (tmp_path / "names.txt").write_text("red\ngreen\n")
        choice = DiagnosisChoice(
            labels=labels if with_labels else None,
            names=tmp_path / "names.txt",
            label_embeddings=files / "labels.npz",
            dictionary_embeddings=files / "words.npz",
        )
        found = label_bias(gather_material(vectors_only, choice))
        assert set(found.numbers) == {"mean_photos", "mean_dictionary_words"}

    def test_labels_are_no_words_of_the_dictionary(self, collection, tmp_path):
        (tmp_path / "names.txt").write_text("red\ngreen\n")
        (tmp_path / "words.txt").write_text("Red\nGREEN\n")
        choice = DiagnosisChoice(names=tmp_path / "names.txt", dictionary=tmp_path / "words.txt")
        with pytest.raises(PlotLeftOutError, match="every entry of the dictionary is a label"):
            label_bias(gather_material(collection, choice))

    @pytest.mark.parametrize(
        ("scores", "reason"),
        [
            pytest.param("1,2\n2,3", "2 photos with opinions that differ are too few", id="two"),
            pytest.param("1,2\n2,2\n3,2", "3 photos with opinions that differ", id="all-equal"),
        ],
    )
    def test_opinions_that_cannot_be_ranked(self, vectors_only, tmp_path, scores, reason):
        (tmp_path / "mos.csv").write_text(f"image_id,mos\n{scores}")
        choice = DiagnosisChoice(opinions=tmp_path / "mos.csv")
        with pytest.raises(PlotLeftOutError, match=reason):
            quality_opinions(gather_material(vectors_only, choice))

    def test_says_which_cues_are_not_drawn(self, drawn):
        (finding,) = [plot.finding for plot in drawn.plots if plot.name == "opinions"]
        assert "is 1.00 for quality. " in finding
        for name in ("quality_sim", "magnitude"):
            assert f"{name} is not known of all these photos, or does not differ." in finding

    def test_quality_that_does_not_differ(self, files, tmp_path):
        store = new_store(tmp_path / "collection")
        rows = image_rows(store, features_of_three_kinds(), quality=[0.5] * N_PHOTOS)
        store.append_images(rows)
        choice = DiagnosisChoice(opinions=files / "mos.csv")
        with pytest.raises(PlotLeftOutError, match="no quality cue that differs between photos"):
            quality_opinions(gather_material(opened(store), choice))

    def test_a_model_without_features_has_no_spectrum(self, vectors_only):
        with pytest.raises(PlotLeftOutError, match='the image projector of "someone\'s" is not'):
            projector_spectrum(gather_material(vectors_only, DiagnosisChoice()))


def test_label_names_are_no_formulas_and_may_be_in_any_script():
    means = LabelSimilarities(*np.array([[0.1, 0.2, 0.3]] * 3))
    samples = np.linspace(0, 1, 50), np.linspace(0.2, 0.4, 50)
    names = (r"a $\frac{broken$ formula", "犬\nと猫", "x" * 200)
    png = label_bias_png(
        similarity_histograms(*samples), series=("photos", "words"), means=means, names=names
    )
    assert png.startswith(b"\x89PNG")


class TestReport:
    @pytest.fixture
    def page(self, drawn):
        return _Page(Path(drawn.report).read_text(encoding="utf-8"))

    def test_needs_nothing_besides_itself(self, page):
        names = {tag for tag, _ in page.tags}
        assert names.isdisjoint({"script", "link", "iframe", "object", "base"})
        for _, attributes in page.tags:
            for name in ("src", "href"):
                target = attributes.get(name, "#")
                assert re.match(r"#|data:image/png;base64,[A-Za-z0-9+/=]+$", target or "")
            assert not any(name.startswith("on") for name in attributes)
        (policy,) = [
            attributes["content"]
            for tag, attributes in page.tags
            if tag == "meta" and "http-equiv" in attributes
        ]
        assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
        assert "url(" not in page.text
        assert "@import" not in page.text

    def test_every_picture_has_words_instead_of_it(self, page):
        pictures = [attributes for tag, attributes in page.tags if tag == "img"]
        assert len(pictures) == len(PLOTS)
        assert all(len(attributes["alt"] or "") > 40 for attributes in pictures)
        assert page.text.count("How to read it.") == len(PLOTS)

    def test_tells_what_it_was_made_of(self, page, drawn):
        for told in (
            drawn.collection,
            f"mos {drawn.given['mos']}",
            "30 photos, 30 photos with labels, 40 texts, at most 100,000 pairs of each kind",
            f"{drawn.made_at:%Y-%m-%d %H:%M} UTC by isophote {drawn.isophote_version}",
        ):
            assert told in page.text
        assert re.search(r"Model\s*fake\s", page.text)
        assert re.search(r"Seed\s*7\s", page.text)

    def test_text_of_users_is_no_markup(self):
        text = "<b onclick='x'>&\udcff"
        diagnosis = Diagnosis(
            report="report.html",
            collection=text,
            model=text,
            isophote_version="1",
            made_at=NOON,
            given={"where": text},
            n_images=1,
            n_sampled=1,
            n_labelled=0,
            n_texts=0,
            n_pairs=1,
            seed=0,
            plots=[DrawnPlot(name="map", title="A map", file="f", finding="f", numbers={})],
            left_out=[PlotLeftOut(name="spectrum", title="Singular values", reason=text)],
        )
        section = Section(b"png", finding=f"`code` {text}", reading="r", alt=f'"{text}', numbers={})
        page = report_html(diagnosis, {"map": section})
        page.encode("utf-8")
        shown = _Page(page)
        assert "b" not in {tag for tag, _ in shown.tags}
        assert "<code>code</code> &lt;b" in page
        assert "where <b onclick='x'>&?" in shown.text
        assert "Singular values: <b onclick='x'>&?." in shown.text
        (picture,) = [attributes for tag, attributes in shown.tags if tag == "img"]
        assert picture["alt"] == "\"<b onclick='x'>&?"
        assert "2026-01-02 12:00 UTC by isophote 1" in shown.text
