"""The network of policy/src/agents once more, in plain Python and double precision.

Writes beside itself, for each kind of agent, KIND.safetensors (parameters and manifest) and KIND.json (inputs and what
has to come out). Run from anywhere, with Python 3.8 or later and nothing else:

    python3 policy/tests/golden/recipe.py

Nothing here is taken from the Rust code: the equations are those of docs/design/agents.md, the gates those of
torch.nn.GRU. Random numbers are a 64-bit linear congruential generator, so every run writes the same files.
"""

import json
import math
import pathlib
import struct

F, C, H = 4, 2, 10
LEVELS = [-0.5, 0.0, 0.25, 0.5]
HERE = pathlib.Path(__file__).parent


class Random:
    """Knuth's MMIX generator; the high 32 bits as a number between -1 and 1."""

    def __init__(self, seed):
        self.state = seed

    def number(self):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 32) / 2**31 - 1.0


def f32(x):
    """The nearest single-precision number."""
    return struct.unpack("<f", struct.pack("<f", x))[0]


def tensor(random, *shape):
    """Rows of random numbers, scaled so that activations neither vanish nor saturate."""
    if len(shape) == 1:
        return [f32(random.number() * 0.5) for _ in range(shape[0])]
    return [[f32(random.number() * 1.5 / math.sqrt(shape[1])) for _ in range(shape[1])] for _ in range(shape[0])]


def parameters(random, outputs):
    return {
        "encoder.server.weight": tensor(random, H, F),
        "encoder.context.weight": tensor(random, H, C),
        "encoder.bias": tensor(random, H),
        "pool.weight": tensor(random, H, 2 * H),
        "pool.bias": tensor(random, H),
        "gru.weight_ih_l0": tensor(random, 3 * H, H),
        "gru.weight_hh_l0": tensor(random, 3 * H, H),
        "gru.bias_ih_l0": tensor(random, 3 * H),
        "gru.bias_hh_l0": tensor(random, 3 * H),
        "decoder.weight": tensor(random, H, H),
        "decoder.bias": tensor(random, H),
        "head.weight": tensor(random, outputs, H),
        "head.bias": tensor(random, outputs),
    }


def matvec(matrix, vector):
    return [sum(m * v for m, v in zip(row, vector)) for row in matrix]


def plus(*vectors):
    return [sum(column) for column in zip(*vectors)]


def relu(vector):
    return [max(0.0, v) for v in vector]


def sigmoid(x):
    return 1.0 / (1.0 + math.exp(-x))


def gru(p, x, h):
    gi = plus(matvec(p["gru.weight_ih_l0"], x), p["gru.bias_ih_l0"])
    gh = plus(matvec(p["gru.weight_hh_l0"], h), p["gru.bias_hh_l0"])
    after = []
    for i in range(H):
        r = sigmoid(gi[i] + gh[i])
        z = sigmoid(gi[H + i] + gh[H + i])
        n = math.tanh(gi[2 * H + i] + r * gh[2 * H + i])
        after.append((1.0 - z) * n + z * h[i])
    return after


def step(p, servers, context, active, hidden):
    """One step for all servers: what the head says, and the state after it."""
    of_context = matvec(p["encoder.context.weight"], context)
    e = [relu(plus(matvec(p["encoder.server.weight"], x), of_context, p["encoder.bias"])) for x in servers]
    live = [row for row, on in zip(e, active) if on]
    mean = [sum(column) / len(live) for column in zip(*live)] if live else [0.0] * H
    largest = [max(column) for column in zip(*live)] if live else [0.0] * H
    pooled = plus(matvec(p["pool.weight"], mean + largest), p["pool.bias"])
    head, after = [], []
    for j, on in enumerate(active):
        if not on:
            after.append([0.0] * H)
            head.append([0.0] * len(p["head.bias"]))
            continue
        h = gru(p, plus(e[j], pooled), hidden[j])
        z = relu(plus(matvec(p["decoder.weight"], h), p["decoder.bias"]))
        after.append(h)
        head.append(plus(matvec(p["head.weight"], z), p["head.bias"]))
    return head, after


def correction(kind, head, delta_max):
    if kind == "sac-gru":
        return delta_max * math.tanh(head[0])
    order = sorted(range(len(LEVELS)), key=lambda i: (-head[i], abs(LEVELS[i]), i))
    return LEVELS[order[0]]


def write_safetensors(path, tensors, manifest):
    header = {"__metadata__": {"weir": json.dumps(manifest)}}
    data = b""
    for name in sorted(tensors):
        rows = tensors[name]
        matrix = isinstance(rows[0], list)
        flat = [x for row in rows for x in row] if matrix else rows
        raw = struct.pack("<%df" % len(flat), *flat)
        shape = [len(rows), len(rows[0])] if matrix else [len(rows)]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def make(kind, seed):
    random = Random(seed)
    discrete = kind != "sac-gru"
    p = parameters(random, len(LEVELS) if discrete else 2)
    delta_max = f32(math.log(2.0))
    manifest = {
        "format": 1,
        "kind": kind,
        "schema": {"name": "grouped18", "version": 1, "server_features": F, "context_features": C},
        "hidden": H,
        "levels": LEVELS if discrete else [],
        "delta_max": delta_max,
        "normaliser": NORMALISER,
        "seed": seed,
        "revision": "recipe",
    }
    write_safetensors(HERE / (kind + ".safetensors"), p, manifest)
    # Servers come and go between steps, in the end all are away; state is carried on from step to step.
    masks = [[1, 1, 1, 1, 1, 1, 1], [1, 1, 0, 1, 1, 1, 1], [1, 0, 1, 1, 1, 0, 1], [0, 0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1]]
    hidden = [[0.0] * H for _ in masks[0]]
    steps = []
    for active in masks:
        servers = [[f32(random.number() * 2.0) for _ in range(F)] for _ in active]
        context = [f32(random.number() * 2.0) for _ in range(C)]
        head, hidden = step(p, servers, context, active, hidden)
        delta = [correction(kind, row, delta_max) if on else 0.0 for row, on in zip(head, active)]
        steps.append(
            {"servers": sum(servers, []), "context": context, "active": [on == 1 for on in active],
             "head": sum(head, []), "hidden": sum(hidden, []), "correction": delta}
        )
    (HERE / (kind + ".json")).write_text(json.dumps({"steps": steps}) + "\n")


def nothing_seen(width):
    return {"count": 0, "mean": [0.0] * width, "squares": [0.0] * width}


NORMALISER = {"clip": 10.0, "servers": nothing_seen(F), "context": nothing_seen(C)}

if __name__ == "__main__":
    for index, name in enumerate(["sac-gru", "sac-gru-discrete", "qmix"]):
        make(name, index + 1)
