#!/bin/sh
# Tests and measures Inferrum on this machine's GPUs. Needs Python 3, and PyTorch for the comparison.
#   sh run.sh [OUT] [phase...]     phases: tests corpus memcheck kernels speed wgpu   [default: all]
# Writes OUT/results.json, OUT/results.md and the logs, and packs them into OUT/all.tar.gz every half minute.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/out}
[ $# -gt 0 ] && shift
work=${TMPDIR:-/tmp}/inferrum-gpu
mkdir -p "$work" "$out"
if [ ! -e "$work/COMMIT" ] || ! cmp -s "$here/COMMIT" "$work/COMMIT"; then
    rm -rf "$work"
    mkdir -p "$work"
    tar --extract --xz --file "$here/content.tar.xz" --directory "$work"
    cp "$here/COMMIT" "$work/COMMIT"
fi
exec python3 "$here/run.py" --work "$work" --out "$out" "$@"
