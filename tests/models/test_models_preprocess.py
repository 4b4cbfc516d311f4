"""Animate's preprocessing: the geometry by hand-made bodies, the networks by their tiny likes, and faults that name
the frame."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_parts import request_for
from onnx_parts import convolution
from PIL import Image
from pose_parts import Sees, box_of, shot, standing

from models import catalog
from models.acceleration import runtime
from models.media import clips
from models.planning.request import Cancelled, RenderFault
from models.preprocess import faces, guides, keypoints, skeleton, tiny_eyes, view
from models.preprocess.cuts import Cuts
from models.preprocess.guides import Eyes, guides_of, open_eyes
from models.preprocess.masks import roomy
from models.preprocess.persons import Box, Detector, Track
from models.preprocess.poses import PoseNet, peaks
from models.preprocess.retarget import Proportions
from models.progress.render_monitor import RenderMonitor
from tests.farm.cli.cli_run import run

ANIMATE = catalog.get("wan2.2-animate-14b-tiny")
CPU = torch.device("cpu")
WIDE, HIGH = 256, 320


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runtime.prepare()
    return tiny_eyes.ensure(tmp_path_factory.mktemp("models"))


# --- drawing


def test_a_skeleton_is_drawn_in_colours_on_black() -> None:
    pose = standing(128, 10, 300)
    drawn = skeleton.draw(pose, WIDE, HIGH)
    assert drawn.shape == (HIGH, WIDE, 3)
    assert drawn.dtype == np.uint8
    assert (drawn[:, :20] == 0).all()
    body = keypoints.body(pose)

    def at(start: int, end: int) -> list[int]:
        x, y = ((body[start] + body[end]) / 2)[:2].astype(int)
        return list(drawn[y, x])

    assert at(1, 2) == [153, 0, 0]  # the right shoulder in dimmed red
    assert at(11, 12) == [0, 102, 153]  # the left thigh in dimmed blue
    x, y = body[0, :2].astype(int)
    assert list(drawn[y, x]) == [255, 0, 0]  # the nose in full
    hand = pose[keypoints.LEFT_HAND][-1, :2].astype(int)
    assert drawn[hand[1], hand[0]].any()


def test_what_is_not_seen_is_not_drawn() -> None:
    pose = standing(128, 10, 300)
    whole = int((skeleton.draw(pose, WIDE, HIGH) > 0).sum())
    pose[[9, 7], 2] = 0.2
    pose[keypoints.LEFT_HAND, 2] = 0.0
    part = skeleton.draw(pose, WIDE, HIGH)
    assert 0 < (part > 0).sum() < whole
    x, y = pose[9, :2].astype(int)
    assert not part[y - 3 : y + 4, x - 3 : x + 4].any()
    pose[:, 2] = 0
    assert not skeleton.draw(pose, WIDE, HIGH).any()


def test_limbs_grow_with_the_canvas() -> None:
    assert [skeleton.stick(*size) for size in ((256, 256), (832, 480), (1280, 720), (1920, 1080))] == [1, 1, 2, 4]


# --- faces


def test_the_face_is_cut_out_with_its_forehead() -> None:
    pose = standing(128, 10, 300)
    left, top, right, bottom = faces.box(pose, WIDE, HIGH)
    points = pose[keypoints.FACE, :2]
    assert left < points[:, 0].min()
    assert right > points[:, 0].max()
    assert points[:, 1].min() - top > bottom - points[:, 1].max()  # most of the room is above
    grown = (right - left) * (bottom - top) / np.prod(points.max(0) - points.min(0))
    assert grown == pytest.approx(1.3, rel=0.15)
    frame = np.zeros((HIGH, WIDE, 3), np.uint8)
    frame[top:bottom, left:right] = 200
    assert faces.crop(frame, pose).shape == (512, 512, 3)
    assert faces.crop(frame, pose).min() == 200


def test_a_face_at_the_edge_stays_in_the_frame_and_none_is_the_frame() -> None:
    assert faces.box(standing(0, -30, 300), WIDE, HIGH)[:2] == (0, 0)
    assert faces.box(standing(-500, 0, 300), WIDE, HIGH) == (0, 0, WIDE, HIGH)


# --- masks


def test_a_mask_grows_and_is_filled_up_in_blocks() -> None:
    mask = np.zeros((100, 120), bool)
    mask[40:60, 50:52] = True
    mask[58:60, 50:90] = True
    box = roomy(mask)
    assert box[31:69, 41:99].all()
    assert box.sum() == (69 - 31) * (99 - 41)
    fine = roomy(mask, (8, 8))
    assert mask[fine].sum() == mask.sum()
    assert mask.sum() < fine.sum() < box.sum()


# --- people


def person(left: float, size: float = 100, score: float = 0.9) -> Box:
    return Box(left, 0, left + size, 2 * size, score)


def test_a_track_keeps_to_its_person() -> None:
    track = Track(16, several="largest")
    assert track.follow(0, [person(0), person(300, 60)]) == person(0)
    # the other comes nearer and is larger now
    assert track.follow(1, [person(280, 130), person(10)]) == person(10)


def test_a_person_may_be_missed_for_a_moment() -> None:
    track = Track(10)
    track.follow(0, [person(5)])
    for number in range(1, 9):
        assert track.follow(number, [person(5, score=0.3)]) == person(5)
    with pytest.raises(RenderFault, match=r"no person is seen in frame 1 \(0\.10 s\)") as fault:
        track.follow(9, [])
    assert fault.value.code == "invalid_input"


def test_bystanders_do_not_count_others_do() -> None:
    track = Track(10)
    assert track.follow(0, [person(0), person(400, 30)]) == person(0)
    with pytest.raises(RenderFault, match=r"2 people are seen in frame 1 .*several"):
        track.follow(1, [person(0), person(200, 90)])


def test_a_cut_is_found_and_a_pan_is_none() -> None:
    y, x = np.mgrid[0:240, 0:500]
    one = np.stack([128 + 100 * np.sin(x / 40), 128 + 90 * np.cos(y / 30 + x / 90), 0 * x + 60], -1).astype(np.uint8)
    other = np.stack([0 * x + 220, 128 + 60 * np.sin(x / 25), 128 + 100 * np.cos(y / 50)], -1).astype(np.uint8)
    cuts = Cuts()
    assert not any(cuts.begins(np.ascontiguousarray(one[:, 6 * n : 6 * n + 320])) for n in range(20))
    assert cuts.begins(np.ascontiguousarray(other[:, :320]))
    assert not cuts.begins(np.ascontiguousarray(other[:, 6:326]))


# --- poses


def test_a_peak_leans_towards_its_higher_neighbour() -> None:
    heat = np.zeros((133, 64, 48), np.float32)
    heat[:, 20, 10] = 0.9
    heat[:, 20, 11] = 0.5
    heat[:, 19, 10] = 0.2
    heat[5] = 0
    heat[5, 0, 47] = 2.0
    points = peaks(heat)
    assert points[0].tolist() == pytest.approx([10.25, 19.75, 0.9])
    assert points[5].tolist() == [47, 0, 1]


def test_the_networks_answer_in_pixels_of_the_frame(folder: Path) -> None:
    frame = np.random.RandomState(0).randint(0, 255, (90, 160, 3), dtype=np.uint8)
    people = Detector(folder / "person", CPU).people(frame)
    assert people
    assert [box.area for box in people] == sorted((box.area for box in people), reverse=True)
    pose = PoseNet(folder / "pose", CPU).pose(frame, Box(20, 10, 60, 80, 1.0))
    assert pose.shape == (133, 3)
    assert pose.dtype == np.float32
    # the box with its margin, in the network's proportions, around the middle of the person
    assert ((pose[:, 0] > 40 - 33) & (pose[:, 0] < 40 + 33)).all()
    assert ((pose[:, 1] > 45 - 44) & (pose[:, 1] < 45 + 44)).all()


def test_a_head_of_17_points_is_refused(tmp_path: Path) -> None:
    model = tiny_eyes.poses()
    config = model.config
    config.num_labels = 17
    type(model)(config).save_pretrained(tmp_path)
    with pytest.raises(RenderFault, match="know 17 points, Animate needs 133") as fault:
        PoseNet(tmp_path, CPU)
    assert fault.value.code == "engine_error"


def test_an_onnx_file_is_used_when_it_is_there(tmp_path: Path) -> None:
    """Wan's own is one; here a single convolution, whose heatmaps are known."""
    weights = np.random.RandomState(1).randn(133, 3, 4, 4).astype(np.float32)
    (tmp_path / "pose.onnx").write_bytes(convolution(weights, 256, 192, stride=4))
    net = PoseNet(tmp_path, CPU)
    pixels = np.random.RandomState(2).randn(1, 3, 256, 192).astype(np.float32)
    wanted = torch.nn.functional.conv2d(torch.from_numpy(pixels), torch.from_numpy(weights), stride=4)[0]
    assert np.allclose(net._run(pixels), wanted.numpy(), atol=1e-3)
    (tmp_path / "pose.onnx").write_bytes(convolution(weights[:17], 256, 192, stride=4))
    with pytest.raises(RenderFault, match="gives 17 points"):
        PoseNet(tmp_path, CPU).pose(np.zeros((64, 64, 3), np.uint8), Box(0, 0, 64, 64, 1.0))


# --- proportions


def length(pose: Any, start: int, end: int) -> float:
    return float(np.linalg.norm(pose[end, :2] - pose[start, :2]))


def test_the_same_body_stays_as_it_is() -> None:
    first, later = standing(100, 20, 200), standing(120, 20, 200, wave=0.8)
    assert np.allclose(Proportions(first, first).fit(later), later, atol=1e-3)


def test_motion_takes_the_pictures_bones() -> None:
    first, later = standing(100, 20, 200), standing(112, 20, 200, wave=1.0)
    ours = standing(130, 100, 150)
    for left, right in ((7, 9), (8, 10)):
        for wrist in (left, right):
            ours[wrist, :2] = (
                ours[5 if left == 7 else 6, :2] + (ours[wrist, :2] - ours[5 if left == 7 else 6, :2]) * 0.8
            )
    fit = Proportions(first, ours).fit(later)
    assert length(fit, 5, 7) == pytest.approx(length(ours, 5, 7), rel=0.01)
    assert length(fit, 12, 14) == pytest.approx(length(ours, 12, 14), rel=0.01)
    for start, end in ((5, 7), (7, 9), (11, 13)):
        directions = [(pose[end, :2] - pose[start, :2]) / length(pose, start, end) for pose in (fit, later)]
        assert np.allclose(*directions, atol=1e-3)
    # the neck begins where the picture's is, and goes as far as the smaller body would
    moved = (fit[5, :2] + fit[6, :2]) / 2 - (ours[5, :2] + ours[6, :2]) / 2
    assert moved[0] == pytest.approx(12 * 0.75, rel=0.1)
    assert length(fit, 91, 95) == pytest.approx(
        length(later, 91, 95) * length(ours, 7, 9) / length(first, 7, 9), rel=0.01
    )
    assert (fit[:, 2] == later[:, 2]).all()


def test_a_bone_that_is_not_seen_changes_as_the_whole() -> None:
    first, ours = standing(100, 20, 200), standing(100, 20, 100)
    first[[13, 14, 15, 16], 2] = 0.1
    fit = Proportions(first, ours)
    assert fit.whole == pytest.approx(0.5)
    assert fit.of[11, 13] == pytest.approx(0.5)
    wild = standing(100, 20, 200)
    wild[9, :2] += 5000
    assert Proportions(first, wild).of[7, 9] <= 2.0


# --- the walk through a clip


def walk(path: Path, frames: list[list[Any]], grounds: list[int] | None = None, **options: Any) -> Any:
    """Guides of a clip of those figures, by eyes that see just them."""
    clip = shot(path / "clip.mkv", frames, WIDE, HIGH, grounds)
    sees = Sees(frames)
    request = request_for(
        path / "out", ANIMATE.id, "animate", inputs={"video": str(clip)}, width=128, height=160, options=options
    )
    eyes = Eyes(sees, sees, None)  # type: ignore[arg-type]
    return guides_of(eyes, request, clips.probe(clip), 100, RenderMonitor(lambda _: None, lambda: False))


def dance(count: int) -> list[list[Any]]:
    return [[standing(128 + 2 * n, 10, 290, wave=0.2 * n)] for n in range(count)]


def test_every_frame_has_its_skeleton_and_its_face(tmp_path: Path) -> None:
    made = walk(tmp_path, dance(5))
    assert len(made.poses) == len(made.faces) == 5
    assert made.poses[0].shape == (160, 128, 3)
    assert made.faces[0].shape == (512, 512, 3)
    assert not np.array_equal(made.poses[0], made.poses[4])
    # half the size: the nose is where half its pixels are
    x, y = dance(5)[2][0][0, :2] / 2
    assert made.poses[2][int(y), int(x)].any()


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        ([dance(1)[0], *[[]] * 12], r"no person is seen in frame 1 \(0\.06 s\)"),
        ([[], *dance(3)], r"no person is seen in frame 0"),
        ([*dance(3), [standing(70, 10, 290), standing(190, 10, 280)]], r"2 people are seen in frame 3 \(0\.19 s\)"),
        (dance(1), "one frame has no motion"),
    ],
)
def test_what_cannot_be_followed_names_the_frame(tmp_path: Path, frames: list[list[Any]], says: str) -> None:
    with pytest.raises(RenderFault, match=says) as fault:
        walk(tmp_path, frames)
    assert fault.value.code == "invalid_input"


def test_a_cut_names_the_frame(tmp_path: Path) -> None:
    with pytest.raises(RenderFault, match=r"another shot begins at frame 4 \(0\.25 s\)"):
        walk(tmp_path, dance(8), grounds=[40] * 4 + [220] * 4)


def test_the_largest_of_several_is_followed_when_asked(tmp_path: Path) -> None:
    frames = [[standing(80, 10, 290, wave=0.1 * n), standing(200, 60, 230)] for n in range(4)]
    made, alone = walk(tmp_path / "a", frames, several="largest"), walk(tmp_path / "b", [f[:1] for f in frames])
    assert all(np.array_equal(made.poses[n], alone.poses[n]) for n in range(4))


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()


def test_a_cancel_is_heard_between_two_frames(tmp_path: Path, folder: Path) -> None:
    clip = shot(tmp_path / "clip.mkv", dance(3), WIDE, HIGH)
    eyes = open_eyes(folder, CPU, "animate", sure=0.0)
    request = request_for(tmp_path / "out", ANIMATE.id, "animate", inputs={"video": str(clip)})
    with pytest.raises(Cancelled):
        guides_of(eyes, request, clips.probe(clip), 100, RenderMonitor(lambda _: None, lambda: True))


def test_the_picture_lends_its_proportions(tmp_path: Path) -> None:
    frames = dance(3)
    Image.new("RGB", (WIDE, HIGH)).save(tmp_path / "picture.png")
    clip = shot(tmp_path / "clip.mkv", frames, WIDE, HIGH)
    sees = Sees([[standing(128, 150, 150)], *frames])
    request = request_for(
        tmp_path / "out",
        ANIMATE.id,
        "animate",
        inputs={"video": str(clip), "image": str(tmp_path / "picture.png")},
        width=WIDE,
        height=HIGH,
        options={"retarget": True},
    )
    eyes = Eyes(sees, sees, None)  # type: ignore[arg-type]
    made = guides_of(eyes, request, clips.probe(clip), 100, RenderMonitor(lambda _: None, lambda: False))
    rows = np.flatnonzero(made.poses[0].any(axis=(1, 2)))
    assert 145 < rows[0] < 170  # the head of somebody half as tall
    assert 145 - (rows[-1] - rows[0]) < 15


# --- looking at it


def test_the_sheets_show_every_step(tmp_path: Path, folder: Path) -> None:
    clip = shot(tmp_path / "clip.mkv", dance(11), WIDE, HIGH)
    eyes = open_eyes(folder, CPU, "replace", sure=0.0)
    sheets = view.show(eyes, ANIMATE, clip, tmp_path / "sheets", task="replace")
    assert set(sheets) == {"pose", "skeleton", "face", "background", "mask", "all"}
    for name, path in sheets.items():
        with Image.open(path) as sheet:
            assert sheet.width > 8 * 40, name
            # each column with its frame's number above it, brighter than anything of the sheet's own
            above = np.asarray(sheet.convert("L"))[: view.HEADER]
            columns = np.array_split(above[:, 4 : 4 + sheet.width // 8 * 8], 8, axis=1)
            assert all(column.max() > 200 for column in columns), name
            assert (columns[0] != columns[-1][:, : columns[0].shape[1]]).any(), name
    assert view.columns(11) == [0, 1, 3, 4, 6, 7, 9, 10]
    assert view.columns(3) == [0, 1, 2]


def test_the_command_writes_sheets_or_says_why_not(tmp_path: Path, folder: Path) -> None:
    clip = shot(tmp_path / "clip.mkv", dance(3), 64, 80)
    command = ["models", "preprocess", clip, "--show", tmp_path / "sheets"]
    done = run(*command, "--tiny", "--json", "--models-dir", folder.parent)
    assert Path(done.document["all"]).is_file()
    refused = run(*command, "--models-dir", tmp_path / "none")
    assert refused.code == 1
    assert "must hold person and pose: wanfarm models pull preprocess/person" in refused.err
    assert f"wanfarm models pull {catalog.ANIMATE_14B.id}; or see --tiny" in refused.err
    assert guides.folder_of(tmp_path, catalog.ANIMATE_14B) is None


def test_a_box_shares_with_itself() -> None:
    box = box_of(standing(100, 20, 200))
    assert box.overlap(box) == 1
    assert box.overlap(Box(900, 900, 910, 910, 1.0)) == 0
