"""Times Inferrum beside PyTorch on one GPU, in one run, in interleaved rounds: the same architecture, shapes and precision.

  python3 side_by_side.py --inferrum PATH --out DIR models|kernels [--only NAME...] [--precisions f32,f16,bf16] [--rounds 3]

PyTorch runs eagerly, compiled (max-autotune), and recorded as a CUDA graph; inputs and outputs of all stay on the device. Float32 is strict
everywhere (no TF32). Outputs are compared before anything is timed. Writes OUT/models.json and .md, or OUT/kernels.json and .md.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy as np
import torch

from models import CASES

TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
# How far outputs may be apart, relative to the largest: roundings of the type through many layers.
APART = {"f32": 2e-3, "f16": 3e-2, "bf16": 1.5e-1}


def strict():
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("highest")


def times(call, seconds):
    """Milliseconds of calls, each waited for: their median."""
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    taken, begun = [], time.perf_counter()
    while time.perf_counter() - begun < seconds or len(taken) < 10:
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        taken.append((time.perf_counter() - start) * 1e3)
    return statistics.median(taken)


def recorded(model, inputs):
    """The model as a CUDA graph over fixed inputs."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            model(*inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        model(*inputs)
    return graph.replay


def peers(model, inputs):
    """Name and call of each way in which PyTorch runs a model; what fails is said."""
    made = {"eager": lambda: model(*inputs)}
    for name, make in [
        ("compiled", lambda: torch.compile(model, mode="max-autotune")),
        ("graph", lambda: recorded(model, inputs)),
    ]:
        try:
            call = make()
            if name == "compiled":
                compiled, call = call, lambda: compiled(*inputs)
                call()
            made[name] = call
        except Exception as error:  # A peer that fails is left out, not the case.
            print(f"  {name}: {type(error).__name__}: {str(error).splitlines()[0]}", flush=True)
    return made


def arrays(inputs):
    return {name: tensor.float().cpu().numpy() if tensor.is_floating_point() else tensor.cpu().numpy() for name, tensor in inputs.items()}


def export(model, inputs, path):
    names = list(inputs)
    torch.onnx.export(model, tuple(inputs.values()), path, input_names=names, dynamo=True, external_data=True, verbose=False)


def inferrum(args, model, inputs, precision, seconds):
    """Median milliseconds and the time of the first result, by Inferrum's own command."""
    with tempfile.TemporaryDirectory() as folder:
        result = pathlib.Path(folder) / "result.json"
        command = [args.inferrum, "bench", model, "--device", args.device, "--precision", precision, "--resident", "--inputs", inputs, "--seconds", str(seconds), "--json", result]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        if done.returncode != 0:
            return None, None, done.stderr.strip().splitlines()[-1:] or ["it failed"]
        best = json.loads(result.read_text())["results"][0]
        return best["latency_ms"]["p50"], best["first_ms"], []


def outputs(args, model, inputs, precision, folder):
    """What Inferrum computes, as arrays by name."""
    path = folder / "outputs.npz"
    command = [args.inferrum, "run", model, "--device", args.device, "--precision", precision, "--inputs", inputs, "--output", path]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return list(np.load(path).values())


def apart(got, want):
    """The largest difference, relative to the largest number; infinite for NaN."""
    want = want.float().cpu().numpy()
    worst = np.abs(got.astype("f8") - want).max() / max(np.abs(want).max(), 1e-30)
    return float("inf") if np.isnan(worst) else float(worst)


def one(args, name, make, make_inputs, folder):
    """All precisions of a case."""
    torch.manual_seed(0)
    model, inputs = make().eval(), make_inputs()
    path = folder / "model.onnx"
    with torch.no_grad():
        export(model, inputs, path)
    np.savez(folder / "inputs.npz", **arrays(inputs))
    rows = []
    for precision in args.precisions:
        dtype = TYPES[precision]
        place = lambda tensor: tensor.cuda().to(dtype) if tensor.is_floating_point() else tensor.cuda()
        there = model.cuda().to(dtype)
        given = [place(tensor) for tensor in inputs.values()]
        row = {"case": name, "precision": precision}
        with torch.no_grad():
            want = there(*given)
            want = want if torch.is_tensor(want) else want[0]
            try:
                row["apart"] = apart(outputs(args, path, folder / "inputs.npz", precision, folder)[0], want)
            except Exception as error:
                row["error"] = str(error)
            rounds = {}
            calls = {} if args.only_inferrum else peers(there, given)
            for _ in range(args.rounds):
                for peer, call in calls.items():
                    rounds.setdefault(peer, []).append(times(call, args.seconds))
                ms, first, said = inferrum(args, path, folder / "inputs.npz", precision, args.seconds)
                if ms is None:
                    row["error"] = " ".join(said)
                    break
                rounds.setdefault("inferrum", []).append(ms)
                row["first_ms"] = first
        torch._dynamo.reset()
        row["ms"] = {peer: statistics.median(taken) for peer, taken in rounds.items()}
        row["spread"] = {peer: max(taken) / min(taken) for peer, taken in rounds.items()}
        others = [ms for peer, ms in row["ms"].items() if peer != "inferrum"]
        if others and "inferrum" in row["ms"]:
            row["ratio"] = min(others) / row["ms"]["inferrum"]
        if row.get("apart", 0) > APART[precision]:
            row["error"] = f"outputs are apart by {row['apart']:.3g}"
        rows.append(row)
        print(json.dumps(row), flush=True)
    model.cpu()
    torch.cuda.empty_cache()
    return rows


def models(args):
    rows = []
    for name, make, make_inputs in CASES:
        if args.only and not any(word in name for word in args.only):
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                rows += one(args, name, make, make_inputs, pathlib.Path(folder))
            except Exception as error:
                rows.append({"case": name, "precision": "", "error": f"{type(error).__name__}: {error}"})
                print(json.dumps(rows[-1]), flush=True)
        (args.out / "models.json").write_text(json.dumps({"versions": versions(), "rows": rows}, indent=1) + "\n")
    columns = ["eager", "compiled", "graph", "inferrum"]
    lines = [f"Milliseconds, medians of {args.rounds} interleaved rounds; {versions()}", ""]
    lines += ["| case | precision | " + " | ".join(columns) + " | ratio to the best | apart | note |", "|---" * (len(columns) + 5) + "|"]
    for row in rows:
        ms = row.get("ms", {})
        cells = [row["case"], row["precision"], *(f"{ms[column]:.3f}" if column in ms else "" for column in columns)]
        cells += [f"{row['ratio']:.2f}" if "ratio" in row else "", f"{row['apart']:.1e}" if "apart" in row else "", row.get("error", "")]
        lines.append("| " + " | ".join(cells) + " |")
    (args.out / "models.md").write_text("\n".join(lines) + "\n")


def versions():
    return f"PyTorch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, {torch.cuda.get_device_name()}"


def graph_time(call, count=20):
    """Milliseconds of a call inside a recording of many."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(count):
            call()
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    taken = []
    for _ in range(10):
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        taken.append(start.elapsed_time(end) / count)
    return statistics.median(taken)


class Gelu(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.gelu(x * 1.5 + 0.5)


def kernel_cases():
    """Name, module, input shape, what bounds it."""
    wide = (8192, 4096)
    yield "element-wise chain", Gelu(), wide, "bytes"
    yield "softmax", torch.nn.Softmax(-1), wide, "bytes"
    yield "layer norm", torch.nn.LayerNorm(4096), wide, "bytes"
    yield "transpose", type("T", (torch.nn.Module,), {"forward": lambda self, x: x.T.contiguous() * 1.0})(), wide, "bytes"
    for m, k, n in [(4096, 4096, 4096), (128, 4096, 4096), (1, 4096, 4096), (8192, 768, 3072)]:
        yield f"product {m}x{k}x{n}", torch.nn.Linear(k, n, bias=False), (m, k), "flops"


def kernels(args):
    big = torch.empty(1 << 28, dtype=torch.uint8, device="cuda")
    other = torch.empty_like(big)
    copy = 2 * big.numel() / graph_time(lambda: other.copy_(big)) / 1e6
    rows = [{"kernel": "copy", "precision": "", "gb_per_s": copy}]
    del big, other
    for name, module, shape, bound in kernel_cases():
        for precision in args.precisions:
            rows.append(kernel(args, name, module, shape, bound, precision, copy))
            print(json.dumps(rows[-1]), flush=True)
    (args.out / "kernels.json").write_text(json.dumps({"versions": versions(), "rows": rows}, indent=1) + "\n")
    lines = [f"Kernels alone, by the device's clock; copies of 256 MiB reach {copy:.0f} GB/s; {versions()}", ""]
    lines += ["| kernel | precision | Inferrum ms | PyTorch ms | ratio | % of copies | note |", "|---|---|---|---|---|---|---|"]
    for row in rows[1:]:
        shown = lambda key, form: format(row[key], form) if row.get(key) is not None else ""
        cells = [row["kernel"], row["precision"], shown("ms", ".4f"), shown("torch_ms", ".4f"), shown("ratio", ".2f"), shown("percent", ".0f"), row.get("error", "")]
        lines.append("| " + " | ".join(cells) + " |")
    (args.out / "kernels.md").write_text("\n".join(lines) + "\n")


def kernel(args, name, module, shape, bound, precision, copy):
    """One kernel: the sum of the spans that Inferrum's profile gives, beside PyTorch's time in a recording."""
    row = {"kernel": name, "precision": precision}
    torch.manual_seed(0)
    x = torch.randn(shape)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        folder = pathlib.Path(folder)
        export(module.cpu().float(), {"x": x}, folder / "model.onnx")
        np.savez(folder / "inputs.npz", x=x.numpy())
        profile = folder / "profile.json"
        command = [args.inferrum, "run", folder / "model.onnx", "--device", args.device, "--precision", precision, "--inputs", folder / "inputs.npz", "--profile", profile]
        taken = []
        for _ in range(args.rounds):
            done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
            if done.returncode == 0:
                taken.append(span_time(json.loads(profile.read_text())))
        there = module.cuda().to(TYPES[precision])
        given = x.cuda().to(TYPES[precision])
        row["torch_ms"] = graph_time(lambda: there(given))
        if done.returncode != 0:
            row["error"] = (done.stderr.strip().splitlines() or ["it failed"])[-1]
            return row
        row["ms"] = statistics.median(taken)
    row["ratio"] = row["torch_ms"] / row["ms"]
    if bound == "bytes":
        size = torch.finfo(TYPES[precision]).bits // 8
        row["percent"] = 100 * 2 * x.numel() * size / row["ms"] / 1e6 / copy
    return row


def span_time(profile):
    """Milliseconds of the kernels of a run, by a Chrome trace; casts at the model's ends, which narrow types add, do not count."""
    events = profile["traceEvents"] if isinstance(profile, dict) else profile
    return sum(event["dur"] / 1e3 for event in events if event.get("ph") == "X" and "cast" not in event["name"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inferrum", required=True, help="the command")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precisions", type=lambda text: text.split(","), default=["f32", "f16", "bf16"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--only-inferrum", action="store_true", help="leave PyTorch's times out")
    parser.add_argument("what", choices=["models", "kernels"])
    args = parser.parse_args()
    strict()
    {"models": models, "kernels": kernels}[args.what](args)


if __name__ == "__main__":
    main()
