"""The classifier's side of the window: what is drawn is what the network gets, what it answers is what is shown."""

from time import perf_counter

import numpy as np
import pytest
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QColor, QPalette

from dynsim.commands import BoundaryMap, Evaluated, Prediction
from dynsim.datasets import load
from dynsim.errors import ShapeError
from dynsim_gui.models import classifier as words
from dynsim_gui.models import palette
from dynsim_gui.models.pad import Pad, overlaps
from dynsim_gui.views.boundary import BoundaryView
from dynsim_gui.views.classifier import NO_CLASSES, ClassifierView
from dynsim_gui.views.confusion import ConfusionView
from dynsim_gui.views.gallery import GalleryView
from dynsim_gui.views.pad import PadView
from dynsim_gui.views.signals import SignalsView

LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def mnist():
    return load("mnist", samples=10)


def seven(pad, x=0.0, y=0.0, size=1.0):
    """A 7 in two joined strokes, its upper left corner moved to (x + 4, y + 4)."""
    width = 2.4 * size
    pad.stroke(x + 4, y + 4, x + 4 + 8 * size, y + 4, width)
    pad.stroke(x + 4 + 8 * size, y + 4, x + 4 + 3 * size, y + 4 + 12 * size, width, joined=True)


def centre_of_mass(image):
    y, x = (np.arange(n) + 0.5 for n in image.shape)
    return np.array([image.sum(axis=1) @ y, image.sum(axis=0) @ x]) / image.sum()


def evaluated(data, predicted, part="test"):
    true = data.y_test[: len(predicted)]
    k = len(data.classes)
    confusion = np.zeros((k, k), int)
    np.add.at(confusion, (true, predicted), 1)
    order = np.argsort(predicted == true, kind="stable")[:64]
    shown = data.X_test[order], true[order], predicted[order], np.linspace(0.4, 1, len(order))
    return Evaluated(1230, part, len(true), 0.1, float(np.mean(predicted == true)), confusion, *shown)


def prediction(x, probabilities, hidden=12):
    emitted = {
        "input": x,
        "hidden": np.tile(np.maximum(np.arange(hidden) - 4.0, 0), (len(x), 1)),
        "output": np.log(probabilities),
    }
    return Prediction(1230, np.asarray(probabilities), emitted, emitted)


def halves(points, labels):
    """Class 0 left of x = 0.5, class 1 right of it, quite sure."""
    x, y = np.linspace(-1, 2, 31), np.linspace(0, 1, 21)
    right = np.tile(np.clip(0.5 + 5 * (x - 0.5), 0, 1), (21, 1))
    return BoundaryMap(7, x, y, np.stack([1 - right, right], axis=-1), np.array(points), np.array(labels))


# The sheet ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(28, 28), (8, 8), (12, 20)])
def test_averaging_keeps_the_ink_of_a_stroke(shape):
    pad = Pad(shape)
    pad.stroke(2, 3, 6, 5, 2.0)
    area = np.hypot(4, 2) * 2.0 + np.pi * 1.0**2  # a rectangle and two half discs
    assert pad.ink.sum() / pad.fine**2 == pytest.approx(area, rel=0.02)
    assert pad.as_input(normalise=False).sum() == pytest.approx(pad.ink.sum() / pad.fine**2, rel=1e-5)


def test_pieces_of_a_stroke_ink_no_more_than_the_whole():
    whole, pieces = Pad((28, 28)), Pad((28, 28))
    whole.stroke(4, 4, 20, 12, 2.4)
    for a, b in ((4, 12), (12, 20)):
        pieces.stroke(a, 2 + a / 2, b, 2 + b / 2, 2.4, joined=True)
    np.testing.assert_allclose(pieces.ink, whole.ink, atol=1e-5)
    assert whole.ink.max() == 1


def test_undo_takes_a_joined_stroke_clearing_and_erasing_back():
    pad = Pad((28, 28))
    pad.undo()
    assert pad.empty
    seven(pad)
    drawn = pad.ink.copy()
    pad.erase(0, 4, 28, 4, 6)
    assert 0 < pad.ink.sum() < drawn.sum()
    assert not pad.ink[16].any()
    pad.clear()
    assert pad.empty
    pad.undo()
    pad.undo()
    np.testing.assert_array_equal(pad.ink, drawn)
    pad.undo()
    assert pad.empty


def test_a_drawing_is_placed_as_mnist_places_its_digits():
    pad = Pad((28, 28))
    seven(pad)
    image = pad.as_input().reshape(28, 28)
    rows = np.flatnonzero(image.any(axis=1))
    assert rows[-1] - rows[0] + 1 == 20
    assert np.abs(centre_of_mass(image) - 14.5).max() <= 0.5 + 1e-6
    assert np.abs(centre_of_mass(pad.as_input(normalise=False).reshape(28, 28)) - 14.5).max() > 3


def test_place_and_size_of_a_drawing_do_not_matter():
    inputs = []
    for x, y, size in ((0, 0, 1), (9, 6, 1), (-1, -1, 1.5)):
        pad = Pad((28, 28))
        seven(pad, x, y, size)
        inputs.append(pad.as_input())
    np.testing.assert_allclose(inputs[1], inputs[0], atol=1e-6)
    assert np.abs(inputs[2] - inputs[0]).mean() < 0.02 < np.abs(inputs[0]).mean()


def test_a_real_digit_goes_through_unchanged(mnist, digits):
    for data, samples in ((mnist, 200), (digits, 50)):
        pad = Pad(data.input_shape)
        for sample in data.X_test[:samples]:
            pad.load(sample)
            np.testing.assert_array_equal(pad.as_input(normalise=False)[0], sample)
    for sample in mnist.X_test[:200]:  # its own way of placing them leaves MNIST's digits where they are
        pad = Pad((28, 28))
        pad.load(sample)
        np.testing.assert_allclose(pad.as_input()[0], sample, atol=1e-6)


def test_natural_units_and_wrong_sizes():
    pad = Pad((8, 8), high=16)
    image = np.arange(64.0).reshape(8, 8) / 4
    pad.load(image)
    np.testing.assert_allclose(pad.as_input(normalise=False), image.reshape(1, -1), rtol=1e-6)
    assert pad.as_input().dtype == np.float32
    with pytest.raises(ShapeError, match="8, 8"):
        pad.load(np.zeros(65))


def test_a_drawing_at_the_rim_keeps_its_ink_on_the_sheet():
    pad = Pad((8, 8))
    pad.stroke(0.2, 0.5, 0.2, 7.5, 1)
    image = pad.as_input().reshape(8, 8)
    assert np.flatnonzero(image.any(axis=1)).tolist() == list(range(8))
    assert pad.as_input().sum() == pytest.approx(pad.ink.sum() / pad.fine**2, rel=1e-5)


def test_an_empty_sheet_is_no_signal():
    assert not Pad((28, 28)).as_input().any()


def test_overlaps_conserve_what_stays_inside():
    weights = overlaps(10, 40, start=2.0, scale=0.5)
    line = np.random.default_rng(0).random(40)
    assert (weights @ line).sum() == pytest.approx(0.5 * line.sum() / 4)


# Words and colours -------------------------------------------------------------------------------------------------


def test_accuracy_in_words(digits):
    e = evaluated(digits, np.where(np.arange(200) < 3, (digits.y_test[:200] + 1) % 10, digits.y_test[:200]), "train")
    assert words.accuracy_line(e) == "accuracy 98.5 % on 200 training samples at step 1,230"
    assert words.accuracy_with_sigma(e) == "98.5 ± 1.0 % of 200, step 1,230"


def test_sigma_is_binomial_for_many_and_honest_for_few():
    assert words.accuracy_sigma(0.9, 100_000) == pytest.approx(np.sqrt(0.9 * 0.1 / 100_000), rel=1e-3)
    assert words.accuracy_sigma(1.0, 4) > 0.1


@pytest.mark.parametrize(("share", "text"), [(0.5, "50 %"), (0.996, "99.6 %"), (1.0, "100 %"), (0.004, "0.4 %")])
def test_percent(share, text):
    assert words.percent(share) == text


def test_confusion_shows_single_errors_and_leaves_zeros_plain():
    counts = np.array([[99, 1, 0], [0, 5, 0], [0, 0, 0]])
    colours = words.confusion_colours(counts)
    plain = palette.rgb(palette.RAISED)
    assert tuple(colours[0, 2]) == tuple(colours[2, 2]) == plain
    assert tuple(colours[0, 1]) == tuple(palette.lookup("cividis")[26])  # sqrt(0.01) of 255
    assert tuple(colours[1, 1]) == tuple(palette.lookup("cividis")[255])
    assert words.percent(words.shares(counts)[2, 2]) == "–"
    assert (words.text_on(colours[1, 1]), words.text_on(colours[0, 1])) == ("#000000", "#ffffff")


def test_dead_signals_are_dark_and_signs_have_two_hues():
    positive = words.signal_colours(np.array([0.0, 1.0, 4.0])).astype(int)
    assert positive[0].sum() < 10 < positive[1].sum() < positive[2].sum()
    signed = words.signal_colours(np.array([-2.0, 0.0, 2.0])).astype(int)
    assert signed[0, 2] > signed[0, 0]
    assert signed[2, 0] > signed[2, 2]
    assert signed[1].sum() < min(signed[0].sum(), signed[2].sum())


@pytest.mark.parametrize(("n", "width", "height"), [(1, 50, 200), (16, 80, 250), (512, 103, 300), (3000, 40, 300)])
def test_a_grid_of_cells_uses_its_rectangle(n, width, height):
    def side(columns):
        return min(width / columns, height / -(-n // columns))

    assert side(words.columns_for(n, width, height)) == max(side(c) for c in range(1, n + 1))


def test_a_sweep_lights_one_column_after_another():
    shown = [[words.lit(k, 3, f) for k in range(3)] for f in (0, 0.25, 0.5, 1)]
    assert shown == [[1, 0, 0], [1, 0.5, 0], [1, 1, 0], [1, 1, 1]]


def test_boundary_has_the_colour_of_the_sure_class():
    picture = words.boundary_picture(halves([[0, 0]], [0]), fineness=4).astype(int)
    assert picture.shape == (84, 124, 3)
    ground = np.array(palette.rgb(palette.CANVAS))
    for column, k in ((10, 0), (-10, 1)):
        expected = (ground + np.array(palette.rgb(palette.category(k)))) / 2
        np.testing.assert_allclose(picture[40, column], expected, atol=1)
    line = np.flatnonzero((picture[40] == palette.rgb(palette.TEXT)).all(axis=-1))
    assert line.tolist() == [61, 62]  # where x = 0.5


def test_interpolation_is_exact_for_a_plane_and_stays_at_the_edge_outside():
    x, y = np.linspace(0, 3, 7), np.linspace(-1, 1, 5)
    plane = np.add.outer(y, 2 * x)[..., None]
    b = BoundaryMap(0, x, y, plane, np.zeros((0, 2)), np.zeros(0, int))
    assert words.interpolate(b, np.array([0.3, 2.9]), np.array([-0.7, 0.9]))[:, 0] == pytest.approx([-0.1, 6.7])
    assert words.interpolate(b, np.array(99.0), np.array(99.0)) == pytest.approx(7.0)


def test_misclassified_points_are_those_beyond_the_line():
    b = halves([[0, 0.2], [1, 0.2], [0, 0.7], [1.9, 1]], [0, 0, 1, 1])
    assert words.misclassified(b).tolist() == [False, True, True, False]


def test_random_samples_are_wrong_as_often_as_the_whole_part(digits):
    y = digits.y_test[:300]
    e = evaluated(digits, np.where(np.arange(300) < 30, (y + 1) % 10, y))
    wrong = e.gallery_true != e.gallery_predicted
    assert wrong.sum() == 30
    weights = words.fair_weights(e)
    assert weights.sum() == pytest.approx(1)
    assert weights[wrong].sum() == pytest.approx(0.1)


# Widgets -----------------------------------------------------------------------------------------------------------


def shown(qtbot, widget, width=420, height=640):
    qtbot.addWidget(widget)
    widget.resize(width, height)
    widget.show()
    qtbot.waitExposed(widget)
    return widget


def drag(qtbot, widget, start, end, button=LEFT):
    qtbot.mousePress(widget, button, pos=start)
    for t in np.linspace(0, 1, 8):
        qtbot.mouseMove(widget, start + (end - start) * float(t))
        qtbot.wait(2)
    qtbot.mouseRelease(widget, button, pos=end)


def colour_at(widget, point):
    return widget.grab().toImage().pixelColor(point).name()


@pytest.fixture
def pad_view(qtbot):
    view = shown(qtbot, PadView(), 420, 240)
    view.configure((28, 28))
    return view


def test_a_stroke_of_the_mouse_is_drawn(qtbot, pad_view):
    sheet, drawn = pad_view.sheet, []
    pad_view.drawn.connect(drawn.append)
    start = perf_counter()
    drag(qtbot, sheet, QPoint(40, 60), QPoint(160, 60))
    assert drawn[-1].shape == (1, 784)
    assert drawn[-1].max() > 0.9
    assert colour_at(sheet, QPoint(100, 60)) == "#ffffff"
    np.testing.assert_array_equal(drawn[-1], pad_view.pad.as_input())
    assert len(drawn) <= 16 * (perf_counter() - start) + 1  # 15 a second by a coarse timer, and the end

    pad_view.centre_box.click()
    np.testing.assert_array_equal(drawn[-1], pad_view.pad.as_input(normalise=False))


def test_the_right_button_erases_and_undo_brings_back(qtbot, pad_view):
    sheet = pad_view.sheet
    drag(qtbot, sheet, QPoint(40, 60), QPoint(160, 60))
    with qtbot.waitSignal(pad_view.cleared):
        drag(qtbot, sheet, QPoint(20, 60), QPoint(180, 60), RIGHT)
    assert pad_view.pad.empty
    with qtbot.waitSignal(pad_view.drawn):
        pad_view.undo_button.click()
    assert not pad_view.pad.empty
    with qtbot.waitSignal(pad_view.cleared):
        pad_view.clear_button.click()


def test_a_loaded_image_is_quiet_and_shown_as_it_is(qtbot, pad_view, mnist):
    with qtbot.assertNotEmitted(pad_view.drawn):
        pad_view.load(mnist.X_test[0])
    np.testing.assert_array_equal(pad_view.pad.as_input(normalise=False)[0], mnist.X_test[0])


@pytest.mark.parametrize("k", [2, 10, 30])
def test_a_click_in_the_confusion_matrix_names_its_cell(qtbot, k):
    view = shown(qtbot, ConfusionView(), 420, 500)
    counts = np.diag(np.arange(1, k + 1)) * 100
    counts[0, k - 1] = 3
    nothing = (None,) * 4
    view.show_evaluation(Evaluated(5, "test", int(counts.sum()), 0.1, 0.99, counts, *nothing), range(k))
    for cell in ((0, k - 1), (k - 1, 0), (k // 2, k // 2)):
        with qtbot.waitSignal(view.cell_clicked) as clicked:
            qtbot.mouseClick(view, LEFT, pos=view.cell_area(*cell).center().toPoint())
        assert tuple(clicked.args) == cell
    with qtbot.assertNotEmitted(view.cell_clicked):
        qtbot.mouseClick(view, LEFT, pos=QPoint(2, 2))
    assert view.told_at(view.cell_area(0, k - 1).center()) == f"3 of class 0 taken for {k - 1} (3 %)"
    corner = view.cell_area(1, 1).topLeft().toPoint() + QPoint(2, 2)
    assert colour_at(view, corner) == "#{:02x}{:02x}{:02x}".format(*words.confusion_colours(counts)[1, 1])


def test_a_matrix_that_has_not_come_takes_clicks(qtbot):
    view = shown(qtbot, ConfusionView(), 300, 300)
    with qtbot.assertNotEmitted(view.cell_clicked):
        qtbot.mouseClick(view, LEFT, pos=QPoint(150, 150))
    assert view.told_at(QPointF(150, 150)) == ""


def test_boundary_picture_stands_where_its_coordinates_are(qtbot):
    view = shown(qtbot, BoundaryView(), 420, 420)
    view.show_boundary(halves([[0, 0.05], [1, 0.05]], [0, 0]), ("left", "<right>"))
    box = view.plot.getViewBox()

    def point(x, y):
        return view.plot.mapFromScene(box.mapViewToScene(QPointF(x, y)))

    for x, k in ((-0.5, 0), (1.5, 1)):
        expected = (np.array(palette.rgb(palette.CANVAS)) + palette.rgb(palette.category(k))) / 2
        np.testing.assert_allclose(palette.rgb(colour_at(view.plot.viewport(), point(x, 0.6))), expected, atol=3)
    with qtbot.waitSignal(view.picked) as picked:
        qtbot.mouseClick(view.plot.viewport(), LEFT, pos=point(1.2, 0.3))
    np.testing.assert_allclose(picked.args[0], [[1.2, 0.3]], atol=0.02)
    assert "wrong: 1 of 2" in view.legend.text()
    assert "&lt;right&gt;" in view.legend.text()
    assert view.probabilities_at(1.5, 0.5).startswith("<right>: 100 %")


def test_a_click_in_the_gallery_gives_the_sample(qtbot, digits):
    view = shown(qtbot, GalleryView())
    y = digits.y_test[:100]
    e = evaluated(digits, np.where(np.arange(100) == 7, (y + 1) % 10, y))
    view.show_evaluation(e, digits.classes, (8, 8))
    with qtbot.waitSignal(view.sample_chosen) as chosen:
        qtbot.mouseClick(view.pictures, LEFT, pos=view.pictures.cell_area(0).center().toPoint())
    np.testing.assert_array_equal(chosen.args[0], digits.X_test[7])
    assert chosen.args[1] == y[7]
    frame = view.pictures.grab().toImage()
    area = view.pictures.cell_area(0).toRect()
    inside = {frame.pixelColor(x, area.top() + 20).name() for x in range(area.left(), area.right())}
    assert palette.ERROR in inside


def test_samples_that_are_no_images_are_a_table(qtbot):
    moons = load("moons")
    view = shown(qtbot, GalleryView())
    view.show_evaluation(evaluated(moons, 1 - moons.y_test[:5]), ("in", "out"), (2,))
    assert view.table.item(0, 0).text() in ("in → out", "out → in")
    assert float(view.table.item(3, 2).text()) == pytest.approx(moons.X_test[3, 0], abs=0.01)
    with qtbot.waitSignal(view.sample_chosen) as chosen:
        view.table.cellClicked.emit(3, 1)
    np.testing.assert_array_equal(chosen.args[0], moons.X_test[3])


def test_signals_fade_in_with_the_sweep(qtbot):
    view = shown(qtbot, SignalsView(), 420, 360)
    view.setPalette(QPalette(QColor(palette.RAISED), QColor(palette.PANEL)))
    view.show_prediction(
        prediction(np.eye(2), [[0.1, 0.9], [0.5, 0.5]]), (2,), ("a", "b"), ("input", "hidden", "output")
    )

    def brightness(left, right):
        image = view.grab().toImage()
        return sum(image.pixelColor(x, y).value() for x in range(left, right, 3) for y in range(40, 320, 3))

    view.grab()
    tips = {view.told_at(QPointF(x, y)) for x in range(0, 420, 5) for y in range(0, 360, 5)}
    assert {"", "input 0 emits 1", "hidden 11 emits 7"} < tips
    assert len(tips) == 1 + 2 + 12

    hidden, output = (140, 230), (270, 410)
    dark = {}
    for share in (0.0, 0.5, 1.0):
        view.progress(share)
        dark[share] = brightness(*hidden), brightness(*output)
    assert dark[0.0][0] < dark[0.5][0] == dark[1.0][0]
    assert dark[0.0][1] == dark[0.5][1] < dark[1.0][1]


@pytest.fixture
def whole(qtbot):
    return shown(qtbot, ClassifierView())


def test_a_target_has_no_classes_and_says_so(qtbot, whole):
    whole.configure((), (), ())
    assert whole.current_tab == ""
    assert any(label.text() == NO_CLASSES and label.isVisible() for label in whole.findChildren(type(whole.header)))


def test_tabs_follow_the_data(qtbot, whole):
    whole.configure((0, 1), (2,), ("input", "hidden", "output"))
    assert whole.current_tab == "draw"
    assert not whole.pad.isVisible()
    with qtbot.waitSignal(whole.tab_changed) as changed:
        whole.choose_tab("boundary")
    assert changed.args == ["boundary"] == [whole.current_tab]
    with qtbot.waitSignal(whole.drawn) as drawn:
        whole.boundary.picked.emit(np.array([[0.1, 0.2]], np.float32))
    assert drawn.args[0].shape == (1, 2)
    whole.configure(range(10), (28, 28), ("input", "hidden", "output"))
    assert whole.current_tab != "boundary"


def test_a_sample_of_the_gallery_goes_to_the_sheet_and_out(qtbot, whole, digits):
    whole.configure(digits.classes, (8, 8), ("input", "hidden", "output"))
    assert not whole.pad.sample_button.isEnabled()
    e = evaluated(digits, digits.y_test[:100])
    whole.show_evaluation(e)
    assert whole.header.text() == "accuracy 100.0 % on 100 test samples at step 1,230"
    whole.choose_tab("gallery")
    with qtbot.waitSignal(whole.sample_chosen) as chosen, qtbot.assertNotEmitted(whole.drawn):
        whole.gallery.sample_chosen.emit(e.gallery_X[5], int(e.gallery_true[5]))
    assert whole.current_tab == "draw"
    assert chosen.args[1] == digits.y_test[5]
    np.testing.assert_array_equal(whole.pad.pad.as_input(normalise=False)[0], digits.X_test[5])
    whole.choose_tab("draw")
    with qtbot.waitSignal(whole.sample_chosen) as chosen:
        qtbot.mouseClick(whole.pad.sample_button, LEFT)
    assert any(np.array_equal(chosen.args[0], x) for x in e.gallery_X)


def test_the_true_class_is_framed_until_something_is_drawn(qtbot, whole, digits):
    whole.configure(digits.classes, (8, 8), ("input", "hidden", "output"))
    answer = prediction(digits.X_test[:1], np.full((1, 10), 0.1))

    def framed():
        image = whole.signals.grab().toImage()
        return any(image.pixelColor(x, y).name() == palette.GOOD for x in range(250, 419) for y in range(30, 330))

    whole.gallery.sample_chosen.emit(digits.X_test[0], 4)
    whole.show_prediction(answer)
    assert framed()
    drag(qtbot, whole.pad.sheet, QPoint(40, 40), QPoint(90, 90))
    whole.show_prediction(answer)
    assert not framed()
