from pathlib import Path

import pytest

from blursynth.errors import RefusedError, SettingsError
from blursynth.layouts import hide, open_pairs
from blursynth.layouts.pairs import folders_in
from layout_samples import folder_tree, gopro_tree, noise, put, tar


def test_gopro_is_recognised_with_its_track_and_stray_text_files_passed_over(tmp_path: Path) -> None:
    tree = open_pairs(gopro_tree(tmp_path / "GOPRO"), track="blur_gamma")
    assert (tree.name, tree.layout, tree.split, tree.track) == ("GOPRO_Large", "gopro", "test", "blur_gamma")
    assert [pair.name for pair in tree.pairs] == ["GOPR0384_11_00/000001", "GOPR0384_11_00/000002"]
    assert tree.pairs[0].blurry == tmp_path / "GOPRO/test/GOPR0384_11_00/blur_gamma/000001.png"
    assert {pair.sequence for pair in tree.pairs} == {"GOPR0384_11_00"}


def test_the_folder_of_one_side_is_that_side(tmp_path: Path) -> None:
    root = gopro_tree(tmp_path / "GOPRO", tracks=("blur",))
    assert open_pairs(root / "test").track == "blur"
    with pytest.raises(SettingsError, match="has no test; choose --split train"):
        open_pairs(root / "train")


def test_tracks_of_gopro_are_never_guessed_and_never_mixed(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="choose --track blur or blur_gamma"):
        open_pairs(gopro_tree(tmp_path / "both"))
    with pytest.raises(SettingsError, match="no track 'blur_gamma'"):
        open_pairs(gopro_tree(tmp_path / "one", tracks=("blur",)), track="blur_gamma")


def test_gopro_large_all_has_no_blurry_images_and_says_who_makes_them(tmp_path: Path) -> None:
    put(tmp_path / "train/GOPR0372_07_00/000047.png", noise(0))
    with pytest.raises(RefusedError, match=r"GOPRO_Large_all.*gopro rebuild"):
        open_pairs(tmp_path)


@pytest.mark.parametrize("missing", ["blur", "sharp"])
def test_a_picture_without_its_twin_is_named(tmp_path: Path, missing: str) -> None:
    root = gopro_tree(tmp_path, tracks=("blur",))
    (root / f"test/GOPR0384_11_00/{missing}/000002.png").unlink()
    other = "sharp" if missing == "blur" else "blur"
    kind = "blurry" if missing == "blur" else "sharp"
    with pytest.raises(RefusedError, match=rf"test/GOPR0384_11_00/{other}/000002.png: no {kind} twin"):
        open_pairs(root)


@pytest.mark.parametrize("place", ["{0}_{1}", "{0}/{0}_{1}", "{0}_{1}/{0}/{0}_{1}"])
def test_reds_is_found_however_its_archives_were_unpacked(tmp_path: Path, place: str) -> None:
    for number in range(2):
        put(tmp_path / place.format("val", "sharp") / f"00{number}/00000000.png", noise(1))
        put(tmp_path / place.format("val", "blur_jpeg") / f"00{number}/00000000.jpg", noise(2))
    tree = open_pairs(tmp_path, split="val")
    assert (tree.name, tree.layout, tree.track) == ("REDS blur_jpeg", "reds", None)
    assert [pair.name for pair in tree.pairs] == ["000/00000000", "001/00000000"]
    assert tree.pairs[0].blurry.suffix == ".jpg"


def test_hide_has_one_folder_of_sharp_pictures_and_names_that_tell_the_recording(tmp_path: Path) -> None:
    for folder, name in (
        ("train", "1fromGOPR1020.MP4"),
        ("test/test-close-ups", "10fromGOPR0950"),
        ("test/test-long-shot", "7fromGOPR1083"),
    ):
        put(tmp_path / folder / f"{name}.png", noise(0))
        put(tmp_path / "GT" / f"{name}.png", noise(1))
    tree = open_pairs(tmp_path)
    assert (tree.layout, [pair.sequence for pair in tree.pairs]) == ("hide", ["GOPR0950", "GOPR1083"])
    assert open_pairs(tmp_path, split="train").pairs[0].sequence == "GOPR1020.MP4"
    put(tmp_path / "test/test-close-ups/lonely.png", noise(0))
    with pytest.raises(RefusedError, match=r"lonely.png: no sharp twin in .*GT"):
        open_pairs(tmp_path)
    (tmp_path / "test.txt").write_text("test/test-long-shot/7fromGOPR1083.png\n10fromGOPR0950.png\n")
    assert len(open_pairs(tmp_path).pairs) == 2


def _realblur(root: Path, line: str = "") -> Path:
    scene = "RealBlur-J_ECC_IMCORR_centroid_itensity_ref/scene 001"
    put(root / scene / "gt/gt_1.png", noise(0))
    put(root / scene / "blur/blur_1.png", noise(1))
    line = line or f"{scene}/gt/gt_1.png {scene}/blur/blur_1.png\r\n\r\n"
    (root / "RealBlur_J_test_list.txt").write_text(line, newline="")
    return root


def test_realblur_follows_its_list(tmp_path: Path) -> None:
    tree = open_pairs(_realblur(tmp_path))
    assert (tree.name, tree.layout, tree.track) == ("RealBlur-J", "realblur", None)
    assert [(pair.name, pair.blurry.name, pair.sharp.name) for pair in tree.pairs] == [
        ("scene 001/1", "blur_1.png", "gt_1.png")
    ]
    assert open_pairs(tmp_path / "RealBlur_J_test_list.txt").pairs == tree.pairs


@pytest.mark.parametrize("path", ["../secret.png", "/etc/secret.png", "a/../../secret.png", "link/secret.png"])
def test_a_list_leads_never_out_of_its_tree(tmp_path: Path, path: str) -> None:
    put(tmp_path / "secret.png", noise(0))
    root = tmp_path / "set"
    _realblur(root, f"{path} {path}\n")
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(RefusedError, match=r"line 1: .*out of the tree"):
        open_pairs(root)


def test_a_list_may_only_name_pictures_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"line 1: .*gone.png: cannot be read"):
        open_pairs(_realblur(tmp_path, "gone.png gone.png\n"))
    with pytest.raises(RefusedError, match="line 1: not the paths of two pictures"):
        open_pairs(_realblur(tmp_path, "one.png\n"))


@pytest.mark.parametrize(("blurry", "sharp"), [("blur", "sharp"), ("input", "target"), ("blurry", "GT"), ("lq", "gt")])
def test_plain_folders_by_any_usual_name(tmp_path: Path, blurry: str, sharp: str) -> None:
    names = ["seq/0001", "a_0001", "a_0002", "b-7", "über den Wolken", "new\nline"]
    tree = open_pairs(folder_tree(tmp_path / "set", names, blurry, sharp))
    assert (tree.name, tree.layout, tree.split, tree.track) == ("set", "folders", "", None)
    assert sorted(names) == [pair.name for pair in tree.pairs]
    sequences = {pair.name: pair.sequence for pair in tree.pairs}
    assert (sequences["seq/0001"], sequences["a_0002"], sequences["new\nline"]) == ("seq", "a", "")


def test_pictures_numbered_by_their_folders_are_twins(tmp_path: Path) -> None:
    put(tmp_path / "blur/blur_1.png", noise(0))
    put(tmp_path / "gt/gt_1.png", noise(1))
    assert [pair.name for pair in open_pairs(tmp_path).pairs] == ["1"]


def test_names_that_differ_in_their_endings_only_are_refused(tmp_path: Path) -> None:
    root = folder_tree(tmp_path, ["a"])
    put(root / "blur/a.jpg", noise(0))
    with pytest.raises(RefusedError, match=r"a.png: a.jpg has the same name; keep one"):
        open_pairs(root)


def test_what_could_be_two_layouts_must_be_told(tmp_path: Path) -> None:
    root = folder_tree(tmp_path, ["a"])
    put(root / "val_sharp/000/0.png", noise(0))
    put(root / "val_blur/000/0.png", noise(0))
    with pytest.raises(SettingsError, match="could be reds or folders; choose with --layout"):
        open_pairs(root)
    assert len(open_pairs(root, layout="folders").pairs) == 1


def test_what_is_no_data_set_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="no data set of pairs that is known"):
        open_pairs(tmp_path)
    with pytest.raises(RefusedError, match="no such file or folder"):
        open_pairs(tmp_path / "gone")
    with pytest.raises(RefusedError, match="no hide tree; GT, train and test"):
        open_pairs(folder_tree(tmp_path / "set", ["a"]), layout="hide")
    with pytest.raises(SettingsError, match="layout 'x' is unknown"):
        open_pairs(tmp_path, layout="x")
    with pytest.raises(SettingsError, match="split 'x' is unknown"):
        open_pairs(tmp_path, split="x")


def test_tars_hold_no_files_to_score(tmp_path: Path) -> None:
    tar(tmp_path / "test-000000.tar", {"a.blurry.png": b"", "a.sharp.png": b""})
    with pytest.raises(RefusedError, match="run 'blursynth import' first"):
        open_pairs(tmp_path)


def test_empty_folders_are_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "blur").mkdir()
    (tmp_path / "sharp").mkdir()
    with pytest.raises(RefusedError, match="hold no PNG or JPEG"):
        open_pairs(tmp_path)


@pytest.mark.shared
def test_the_development_pairs_are_plain_folders(shared: Path) -> None:
    assert len(open_pairs(shared / "pairs/gopro_dev").pairs) == 9


def test_a_long_list_of_hide_is_read_without_searching_the_tree_for_each_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number}fromrefused0950.png" for number in range(40)]
    for name in names:
        put(tmp_path / "train" / name, noise(0, 2, 2))
        put(tmp_path / "GT" / name, noise(1, 2, 2))
    (tmp_path / "train.txt").write_text("\n".join(names))
    searched: list[Path] = []

    def counted(folder: Path) -> list[Path]:
        searched.append(folder)
        return folders_in(folder)

    monkeypatch.setattr(hide, "folders_in", counted)
    assert len(open_pairs(tmp_path, split="train").pairs) == 40
    assert len(searched) < 5
    (tmp_path / "train.txt").write_text("gone.png")
    with pytest.raises(RefusedError, match=r"train.txt, line 1: 'gone.png' is not in .*train"):
        open_pairs(tmp_path, split="train")


@pytest.mark.parametrize("text", ["../outside.png", "{0}/outside.png"])
def test_a_list_of_hide_leads_never_out_of_its_tree(tmp_path: Path, text: str) -> None:
    put(tmp_path / "outside.png", noise(0))
    put(tmp_path / "HIDE/train/1fromGOPR0950.png", noise(0))
    put(tmp_path / "HIDE/GT/1fromGOPR0950.png", noise(1))
    (tmp_path / "HIDE/train.txt").write_text(text.format(tmp_path))
    with pytest.raises(RefusedError, match="leads out of the tree"):
        open_pairs(tmp_path / "HIDE", split="train")


def test_a_stray_tar_hides_no_tree_of_another_layout(tmp_path: Path) -> None:
    root = gopro_tree(tmp_path / "GOPRO", tracks=("blur",))
    (root / "download.tar").write_bytes(b"half a download")
    assert open_pairs(root).layout == "gopro"
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone/download.tar").write_bytes(b"half a download")
    with pytest.raises(RefusedError, match=r"download\.tar: not a plain tar, or damaged"):
        open_pairs(tmp_path / "alone")
