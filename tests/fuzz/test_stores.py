"""Mutated stores, bytes and structure: what opens is as the format says."""

import io
import json
import tempfile
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import FUZZ, edited, edits

SIZES = {"chr1": 3_000, "chr2": 900}
KINDS = st.sampled_from(["cuts", "coverage"])
COLUMNS = {"cuts": ["cuts", "fragments"], "coverage": ["starts", "values"]}


def read_store(path: str) -> str:
    """A digest of all that a store holds, after the checks of the format."""
    import hashlib

    from denoiseq.store.header import fingerprint
    from denoiseq.store.store import open_store

    store = open_store(path)
    digest = hashlib.sha256(fingerprint(store.preprocessing).encode())
    for chrom, size in store.chroms.items():
        assert 0 <= size <= 2**32
        if store.thinnable:
            sites, ids = store.cuts(chrom, 0, 2**32 - 1)
            assert len(sites) == 0 or (sites[0] >= 0 and sites[-1] < size)
            assert (np.diff(sites) >= 0).all()
            digest.update(ids.tobytes())
        track = store.coverage(chrom, 0, min(size, 10_000), 20)
        assert np.isfinite(track).all() and (track >= 0).all()
        digest.update(track.tobytes())
    for rows in store.blacklist.values():
        assert (rows[:, 0] < rows[:, 1]).all() and (rows >= 0).all()
    assert all(depth >= 0 for depth in store.depths(100))
    store.fragment_sizes()
    json.dumps(store.facts(), allow_nan=False)
    return digest.hexdigest()


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """kind -> bytes of a small store as this version writes it, and as the first did: "old"."""
    from denoiseq.genomics.intervals import Interval, merge
    from denoiseq.store.coverage_store import runs_of, write_coverage_store
    from denoiseq.store.cut_store import write_store
    from denoiseq.store.header import blacklist_sha256

    folder, rng = tmp_path_factory.mktemp("stores"), np.random.default_rng(0)
    blacklist = merge([Interval("chr1", 100, 160)])
    made = {"blacklist_sha256": blacklist_sha256(blacklist), "genome": SIZES}
    filters = {"shift": "+4/-4", "min_mapq": 30, "keep_duplicates": False, "max_fragment_bp": 500}
    origin = {"inputs": {"bam": {"name": "a.bam"}}, "warnings": ["a sentence"]}
    cuts, runs = {}, {}
    for chrom, size in SIZES.items():
        left = rng.integers(0, size - 80, 40)
        positions, ids = np.concatenate([left, left + 79]), np.tile(np.arange(40), 2)
        order = np.argsort(positions, kind="stable")
        cuts[chrom] = positions[order], ids[order]
        runs[chrom] = runs_of(np.repeat(rng.integers(0, 9, size // 30), 30), 0)
    write_store(folder / "cuts", SIZES, cuts, blacklist, made | filters, origin)
    write_coverage_store(
        folder / "coverage", SIZES, runs, blacklist, made | {"kind": "coverage"}, origin
    )
    stored = {name: (folder / name).read_bytes() for name in COLUMNS}
    for name in COLUMNS:
        with h5py.File(folder / name, "r+") as file:
            del file["chroms/crc32"]
        stored[f"old {name}"] = (folder / name).read_bytes()
    return stored


def outcome_of_bytes(folder, sandbox, data):
    path = folder / "fuzz.h5"
    path.write_bytes(data)
    outcome = sandbox(read_store, str(path))
    assert outcome.state != "failed", outcome.text
    return outcome


@pytest.mark.parametrize("name", ["cuts", "coverage", "old cuts", "old coverage"])
def test_unchanged_stores_are_read(folder, sandbox, stores, name):
    assert outcome_of_bytes(folder, sandbox, stores[name]).state == "read"


@FUZZ
@given(kind=KINDS, changes=edits())
def test_bytes_of_a_store(folder, sandbox, stores, kind, changes):
    """With checksums what opens has the rows that were written, or none of them was changed."""
    whole = outcome_of_bytes(folder, sandbox, stores[kind]).text
    outcome = outcome_of_bytes(folder, sandbox, edited(stores[kind], changes))
    assert outcome.state == "refused" or outcome.text == whole


@FUZZ
@given(kind=KINDS, changes=edits())
def test_bytes_of_an_old_store(folder, sandbox, stores, kind, changes):
    outcome_of_bytes(folder, sandbox, edited(stores[f"old {kind}"], changes))


NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 2, 100, 2_999, 3_000, 2**31, 2**32 - 1, 2**32, 2**62, 2**63 - 1]),
    st.integers(-10, 4_000),
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.floats(), st.text(max_size=5),
              st.sampled_from(["+4/-4", "10x", "auto", "coverage", "single"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3),
                            st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)  # fmt: skip
FACTS = ["shift", "min_mapq", "max_fragment_bp", "genome", "blacklist_sha256", "layout", "kind"]
FACTS += ["keep_duplicates", "inputs", "warnings", "ends", "source"]
DTYPES = st.sampled_from(["<i8", ">i8", "<u4", "<f4", "<f8", "<i2", "S9", "<c8"])
PARTS = ["chroms/names", "chroms/sizes", "chroms/offsets", "chroms/crc32", "blacklist/chroms"]
PARTS += ["blacklist/bounds", "preprocessing", "provenance", "column 0", "column 1"]
ATTRIBUTES = ["format", "kind", "version", "fingerprint", "n_fragments"]


def change_number(file, name, draw):
    data = file[name]
    if data.dtype.kind in "iuf" and data.size:
        at = draw(st.integers(0, data.size - 1))
        values = data[()]
        number = draw(NUMBERS)
        with np.errstate(all="ignore"):
            values.reshape(-1)[at] = np.array(number).astype(values.dtype)
        data[()] = values


def change_json(file, name, draw):
    name = draw(st.sampled_from(["preprocessing", "provenance"]))
    facts = json.loads(file[name][()])
    key = draw(st.sampled_from(FACTS))
    if draw(st.booleans()):
        facts[key] = draw(JSON)
    else:
        facts.pop(key, None)
    text = draw(st.sampled_from([json.dumps(facts)] * 4 + ["[" * 5_000, "null", "1" * 6_000]))
    del file[name]
    file[name] = text
    if draw(st.integers(0, 3)):
        from denoiseq.store.header import fingerprint

        try:
            file.attrs["fingerprint"] = fingerprint(facts)
        except ValueError:  # nan
            return


def change_shape(file, name, draw):
    values = file[name][()]
    del file[name]
    shape = draw(st.sampled_from([(), (0,), (1,), (3,), (2, 2), (10**12,), (2**40, 2**20), None]))
    dtype = draw(DTYPES)
    if shape is None:
        file[name] = h5py.Empty(dtype)
    elif draw(st.booleans()):
        file.create_dataset(name, shape, dtype)
    elif shape and shape[0] and np.asarray(values).dtype.kind in "iuf":
        packed = {"chunks": True, "compression": "gzip", "maxshape": (None,) * len(shape)}
        file.create_dataset(name, shape, np.asarray(values).dtype, **packed)


def change_storage(file, name, draw):
    values = file[name][()]
    del file[name]
    other = str(Path(file.filename).with_name("secret.h5"))
    match draw(st.sampled_from(["soft", "outer", "extern", "virtual", "gzip", "group", "gone"])):
        case "soft":
            file["elsewhere"] = values
            file[name] = h5py.SoftLink("/elsewhere")
        case "outer":
            file[name] = h5py.ExternalLink(other, "/cuts")
        case "extern":
            shape, dtype = np.shape(values) or (1,), np.asarray(values).dtype
            if dtype.kind in "iuf":
                storage = [(other, 0, h5py.h5f.UNLIMITED)]
                file.create_dataset(name, shape, dtype, external=storage)
        case "virtual":
            shape, dtype = np.shape(values) or (1,), np.asarray(values).dtype
            layout = h5py.VirtualLayout(shape, dtype if dtype.kind in "iuf" else "<i8")
            layout[...] = h5py.VirtualSource(other, "cuts", shape)
            file.create_virtual_dataset(name, layout)
        case "gzip" if np.ndim(values):
            file.create_dataset(name, data=values, compression="gzip", chunks=True)
        case "group":
            file.create_group(name)


def change_texts(file, name, draw):
    name = draw(st.sampled_from(["chroms/names", "blacklist/chroms"]))
    texts = [str(text) for text in file[name].asstr()]
    names = st.one_of(st.sampled_from(["chr1", "chr2", "", "../x", "a\nb"]), st.text(max_size=4))
    names = names.filter(lambda text: "\0" not in text)
    texts[draw(st.integers(0, len(texts) - 1))] = draw(names)
    del file[name]
    file[name] = np.array(texts * draw(st.sampled_from([1, 1, 2])), h5py.string_dtype())


def change_attribute(file, name, draw):
    name = draw(st.sampled_from(ATTRIBUTES))
    values = ["cuts", "coverage", "denoiseq-cuts", "denoiseq-coverage", "", 0, 1, 2, -1, 2.5, 2**70]
    value = draw(st.sampled_from([*values[:-1], [1] * 9, ["x"], np.void(b"abc"), h5py.Empty("i8")]))
    file.attrs.pop(name, None)
    if draw(st.integers(0, 4)):
        file.attrs[name] = value


# what h5py and json raise for a change that cannot follow the one before it
REFUSED = (OSError, ValueError, AttributeError, LookupError, TypeError, MemoryError)
REFUSED += (RecursionError,)
CHANGES = [change_number] * 4 + [change_json] * 3 + [change_shape, change_storage] * 2
CHANGES += [change_texts, change_attribute]


def changed(data: bytes, kind: str, draw) -> bytes:
    """The store after a change or two through HDF5, so that the file itself is sound."""
    buffer = io.BytesIO(data)
    with tempfile.NamedTemporaryFile(suffix=".h5") as temporary:
        Path(temporary.name).write_bytes(buffer.getvalue())
        with h5py.File(temporary.name, "r+") as file:
            for _ in range(draw(st.integers(1, 2))):
                part = draw(st.sampled_from(PARTS))
                name = COLUMNS[kind][int(part[-1])] if part.startswith("column") else part
                link = file.get(name, getlink=True) if name in file else None
                if isinstance(link, h5py.HardLink) and isinstance(file[name], h5py.Dataset):
                    change = draw(st.sampled_from(CHANGES))
                    with suppress(*REFUSED):
                        change(file, name, draw)
        return Path(temporary.name).read_bytes()


@FUZZ
@given(data=st.data(), kind=KINDS, old=st.booleans())
def test_structure_of_a_store(folder, sandbox, stores, data, kind, old):
    (folder / "secret.h5").write_bytes(stores["cuts"])
    whole = stores[f"old {kind}" if old else kind]
    outcome_of_bytes(folder, sandbox, changed(whole, kind, data.draw))


@FUZZ
@given(kind=KINDS, place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_of_a_row_is_noticed(folder, sandbox, stores, kind, place, bit):
    with h5py.File(io.BytesIO(stores[kind])) as file:
        column = file[COLUMNS[kind][int(place * 1_000) % 2]]
        at = column.id.get_offset() + int(place * column.nbytes)
    data = bytearray(stores[kind])
    data[at] ^= 1 << bit
    assert outcome_of_bytes(folder, sandbox, bytes(data)).state == "refused"


def test_many_long_names_that_are_one_are_refused(folder, sandbox, stores):
    """Names are places in the file: a thousand could be one text of a megabyte."""
    path = folder / "long.h5"
    path.write_bytes(stores["cuts"])
    with h5py.File(path, "r+") as file:
        del file["chroms/names"]
        file["chroms/names"] = np.array(["x" * 1_000_000] + ["y"] * 999, h5py.string_dtype())
        offset = file["chroms/names"].id.get_offset()
    data = bytearray(path.read_bytes())
    data[offset : offset + 16_000] = data[offset : offset + 16] * 1_000
    assert "longer than the file" in outcome_of_bytes(folder, sandbox, bytes(data)).text
