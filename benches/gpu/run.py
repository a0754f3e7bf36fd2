"""Runs the tests and measurements of a GPU bundle: see run.sh. Standard library only; the phase `speed` needs PyTorch."""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
PHASES = ["tests", "corpus", "memcheck", "kernels", "speed", "wgpu"]
# Seconds of one program, but for the comparison, which writes as it goes.
LIMIT = 480
RESULTS = {"runs": []}
# Tests of which the memory checker, which is slow, runs all.
CHECKED = ["softmax", "elementwise", "reduce", "layer_norm", "transpose", "matmul", "linear", "conv", "attention", "gather"]


def environment(work):
    """What programs find of the corpus and of CUDA's libraries; plain `python3` may be one of a venv that is not active."""
    env = dict(os.environ, INFERRUM_CORPUS=str(work / "corpus"), INFERRUM_TEST_CUDA="cuda", INFERRUM_REQUIRE_ADAPTER="1")
    env["INFERRUM_REPOSITORY"] = str(work / "repository")
    env.setdefault("INFERRUM_CACHE", str(work / "cache"))
    env.setdefault("XDG_RUNTIME_DIR", str(work))
    env.setdefault("RUST_BACKTRACE", "1")
    packages = pathlib.Path(sysconfig.get_path("purelib")) / "nvidia"
    if packages.is_dir():
        folders = sorted(str(folder) for folder in packages.glob("*/lib"))
        env.setdefault("INFERRUM_CUDA_PATH", os.pathsep.join(folders))
    return env


def run(name, command, out, env, limit, cwd=None):
    """Runs a program to its end or limit; its output goes to a log. Gives what a table says of it."""
    log = out / f"{name}.log"
    begun = time.monotonic()
    with open(log, "wb") as file:
        try:
            code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=env, timeout=limit, cwd=cwd).returncode
        except subprocess.TimeoutExpired:
            code = "time limit"
        except OSError as error:
            code = str(error)
    text = log.read_text(errors="replace")
    result = {"name": name, "code": code, "seconds": round(time.monotonic() - begun, 1)}
    sums = re.findall(r"test result: \w+\. (\d+) passed; (\d+) failed", text)
    if sums:
        result["passed"] = sum(int(passed) for passed, _ in sums)
        result["failed"] = sum(int(failed) for _, failed in sums)
        result["failures"] = re.findall(r"^test (\S+) \.\.\. FAILED", text, re.M)
    counted = re.findall(r"(\d+) passed, (\d+) failed", text)
    if counted:
        result["passed"], result["failed"] = map(int, counted[-1])
    print(json.dumps(result), flush=True)
    RESULTS["runs"].append(result)
    write(out, RESULTS)


def tests(work, out, env):
    """The unit tests of both GPU backends on this device."""
    programs = work / "bin"
    run("devices", [programs / "inferrum", "devices"], out, env, 60)
    run("nvidia", [programs / "inferrum_cuda", "nvidia", "--nocapture"], out, env, 120)
    run("cuda-unit", [programs / "inferrum_cuda", "--skip", "host::"], out, env, LIMIT)


def memcheck(work, out, env):
    """A part of the unit tests under the memory checker, if it is there and works."""
    checker = shutil.which("compute-sanitizer")
    if checker is None:
        RESULTS["runs"].append({"name": "memcheck", "code": "no compute-sanitizer"})
        return
    command = [checker, "--error-exitcode", "86", work / "bin/inferrum_cuda", "--test-threads", "1", *CHECKED]
    run("memcheck", command, out, env, LIMIT)


def corpus(work, out, env):
    """The node suite and the models that travelled, on CUDA."""
    programs = work / "bin"
    models = sorted(str(model) for model in (work / "corpus/models").glob("*"))
    run("corpus-cuda", [programs / "cuda", "--nocapture"], out, env, LIMIT)
    if models:
        run("models-cuda", [programs / "inferrum", "test", *models, "--device", "cuda"], out, env, LIMIT)


def wgpu(work, out, env):
    """The unit tests, the node suite and the models by Vulkan."""
    programs = work / "bin"
    # Where containers have NVIDIA's driver for Vulkan, if its loader does not look there.
    manifest = pathlib.Path("/usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json")
    if manifest.is_file():
        env = {"VK_DRIVER_FILES": str(manifest), **env}
    run("wgpu-unit", [programs / "inferrum_wgpu"], out, env, LIMIT)
    run("resident", [programs / "resident_cache", "--nocapture"], out, env, LIMIT)
    run("corpus-wgpu", [programs / "wgpu", "--nocapture"], out, env, LIMIT)


def speed(work, out, env):
    """Models beside PyTorch."""
    command = [sys.executable, HERE / "side_by_side.py", "--inferrum", work / "bin/inferrum", "--out", out, "models"]
    run("side-by-side", command, out, env, None)


def kernels(work, out, env):
    """Kernels beside the device's own limits: copies of memory, and its library's products."""
    command = [sys.executable, HERE / "side_by_side.py", "--inferrum", work / "bin/inferrum", "--out", out, "kernels"]
    run("kernels", command, out, env, LIMIT)


def told(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def write(out, results):
    """One JSON file and one table of all that was run; the tables of measurements stand beside them."""
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    lines = [f"GPU run of {results['commit']} on {results['gpu']}, {results['date']}", ""]
    lines += ["| run | result | passed | failed | seconds |", "|---|---|---|---|---|"]
    for row in results["runs"]:
        cells = [row["name"], "ok" if row["code"] == 0 else row["code"], row.get("passed", ""), row.get("failed", ""), row.get("seconds", "")]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    for failure in [failure for row in results["runs"] for failure in row.get("failures", [])]:
        lines.append(f"\n- failed: `{failure}`")
    for table in ["models.md", "kernels.md"]:
        if (out / table).is_file():
            lines += ["", (out / table).read_text().rstrip()]
    (out / "results.md").write_text("\n".join(lines) + "\n")


def pack(out):
    """All results as one file, for machines that give back few."""
    whole, part = out / "all.tar.gz", out / "all.part"
    with tarfile.open(part, "w:gz") as archive:
        for file in sorted(out.iterdir()):
            if file.suffix in {".json", ".md", ".log"}:
                archive.add(file, file.name)
    part.replace(whole)


def pack_often(out):
    """So that what was reached is there if the machine ends this program."""
    while True:
        time.sleep(30)
        pack(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=pathlib.Path, required=True, help="where the bundle is unpacked")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="where results go")
    parser.add_argument("phases", nargs="*", default=PHASES, help=f"of {', '.join(PHASES)}")
    args = parser.parse_args()
    unknown = sorted(set(args.phases) - set(PHASES))
    if unknown:
        parser.error(f"no phase {', '.join(unknown)}; there are {', '.join(PHASES)}")
    env = environment(args.work)
    RESULTS.update({
        "commit": (args.work / "COMMIT").read_text().strip(),
        "gpu": told(["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    })
    packing = threading.Thread(target=pack_often, args=(args.out,), daemon=True)
    packing.start()
    for phase in args.phases:
        globals()[phase](args.work, args.out, env)
    write(args.out, RESULTS)
    pack(args.out)
    print((args.out / "results.md").read_text())


if __name__ == "__main__":
    main()
