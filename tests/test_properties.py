"""Readers of files from strangers: whatever is in them, they are read or refused in one line."""

import json
import string
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blursynth.errors import ShardError
from blursynth.files import printable, write_bytes
from blursynth.shards import SPLITS, Entry, Manifest
from faults.fuzz import READERS, feed, mutated
from faults.goods import Goods, make_goods

quickly = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def goods(tmp_path_factory: pytest.TempPathFactory) -> Goods:
    return make_goods(tmp_path_factory.mktemp("goods") / "goods")


@pytest.mark.parametrize("name", [name for name in READERS if name not in {"mp4", "matroska"}])
@quickly
@given(seed=st.integers(0, 2**63 - 1))
def test_a_changed_file_is_read_or_refused_in_one_line(name: str, goods: Goods, tmp_path: Path, seed: int) -> None:
    reader = READERS[name]
    data = next(iter(sorted(goods.folder.glob(reader.seed)))).read_bytes()
    assert feed(reader, mutated(data, np.random.default_rng(seed)), tmp_path) == ""


@pytest.mark.parametrize("name", READERS)
@quickly
@given(data=st.binary(max_size=600))
def test_any_bytes_are_read_or_refused_in_one_line(name: str, tmp_path: Path, data: bytes) -> None:
    assert feed(READERS[name], data, tmp_path) == ""


_hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
_entries = st.builds(
    lambda stem, pairs, more, side, size, hashes, split, source: Entry(
        shard=f"{stem}.h5", bytes=size * bool(pairs), sha256=hashes[0], pairs=pairs, planned=pairs + more,
        height=side, width=side, source=source, source_sha256=hashes[1], settings_sha256=hashes[2], split=split,
    ),
    st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=40), st.integers(0, 1000),
    st.integers(0, 9), st.integers(1, 9999), st.integers(1, 10**12), st.tuples(_hashes, _hashes, _hashes),
    st.sampled_from(SPLITS), st.text(max_size=30),
)  # fmt: skip


@quickly
@given(st.lists(_entries, max_size=5, unique_by=lambda entry: entry.shard))
def test_a_manifest_is_read_as_it_was_written(tmp_path: Path, entries: list[Entry]) -> None:
    Manifest(tmp_path, entries).write()
    assert Manifest.read(tmp_path).everything() == sorted(entries, key=lambda entry: entry.shard)


_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@quickly
@given(_entries, st.sampled_from(sorted(Entry.__dataclass_fields__)), _values)
def test_a_field_of_any_value_is_taken_only_if_it_is_of_its_kind(
    tmp_path: Path, entry: Entry, name: str, value: Any
) -> None:
    line = json.dumps({"schema": 1, **asdict(entry), name: value})
    write_bytes(tmp_path / "manifest.jsonl", f"{line}\n".encode(), overwrite=True)
    try:
        (read,) = Manifest.read(tmp_path).everything()
    except ShardError:
        return
    assert type(getattr(read, name)) is type(value)
    assert read.path(tmp_path).resolve().parent == tmp_path.resolve()


@given(st.text())
def test_what_is_printed_never_drives_a_terminal_or_breaks_a_line(name: str) -> None:
    shown = printable(name)
    assert all(letter.isprintable() for letter in shown)
    assert shown.encode().decode() == shown  # no lone surrogates
