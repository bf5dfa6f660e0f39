#!/usr/bin/env bash
# Everything that needs a GPU, on a machine that nobody watches: hardware tests, compute-sanitizer,
# the tables, a profile. A step that fails or hangs does not keep the next one from running.
#
#   benchmarks/gpu_check.sh [tests] [sanitizer] [gpu] [paths] [threads] [profile]    (by default all)
#
#   PYTHON             interpreter with skmlp's dependencies, numba-cuda, pytest and perhaps PyTorch
#                      and JAX; by default python3 if it has them, else a new virtual environment
#   OUT                folder for log and results, besides the terminal and benchmarks/results
#   BENCHMARKS_COMMIT  the commit, where the checkout has no history
#   TESTS_SECONDS, SANITIZER_SECONDS (each tool), GPU_SECONDS, PATHS_SECONDS, THREADS_SECONDS,
#   PROFILE_SECONDS (each case)                                                  time limits
#   GPU_OPTIONS        of `python -m benchmarks gpu`, such as "--quick --rows small many"
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
here=$PWD

if [ -n "${OUT:-}" ]; then
    mkdir -p "$OUT"
    # Written there at once: whoever ends this script early still finds them.
    export BENCHMARKS_RESULTS=$OUT
    exec > >(tee -a "$OUT/log.txt") 2>&1
fi
export PYTHONPATH=$here${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=(tests sanitizer gpu paths threads profile)
failures=()

say() {
    printf '\n==== %s (%d s since the start)\n' "$*" "$SECONDS"
}

# limited SECONDS COMMAND...: kills what does not end by itself.
limited() {
    local code
    timeout --kill-after=15 "$@"
    code=$?
    [ $code -ne 124 ] && [ $code -ne 137 ] || echo "TIME LIMIT of $1 s: ${*:2}"
    return $code
}

# attempt NAME SECONDS COMMAND...: runs a step and remembers if it failed.
attempt() {
    say "$1"
    limited "${@:2}" || failures+=("$1")
}

has() {
    "$1" - "${@:2}" <<'PY' 2>/dev/null
import importlib
import sys

for name in sys.argv[1:]:
    importlib.import_module(name)
PY
}

find_python() {
    [ -z "${PYTHON:-}" ] || return 0
    PYTHON=$(command -v python3 || true)
    if [ -n "$PYTHON" ] && has "$PYTHON" numba scipy sklearn joblib pytest hypothesis numba_cuda cuda.core; then
        return 0
    fi
    say "a virtual environment in ${VENV:=$here/.venv}"
    "${PYTHON:-python3}" -m venv "$VENV"
    PYTHON=$VENV/bin/python
    local cuda=cuda12
    ! nvidia-smi 2>/dev/null | grep -Eq 'CUDA Version: 1[3-9]' || cuda=cuda13
    limited 600 "$PYTHON" -m pip install -q -e ".[test,$cuda]" || failures+=("pip install skmlp")
    # Peers that cannot be had are left out of the tables.
    limited 600 "$PYTHON" -m pip install -q torch || true
    limited 600 "$PYTHON" -m pip install -q "jax[$cuda]" || true
}

# One process at first. If a test hangs or takes the GPU away from its process, each function gets
# a process of its own. Warnings are shown: on other machines they are errors, but what a package
# complains of here for the first time shall not hide whether the kernels are right.
run_tests() {
    local log code name
    local options=(-m gpu -o addopts= -p no:xdist -p no:cacheprovider --strict-markers -ra -W default
        --tb=short -o faulthandler_timeout=100)
    log=$(mktemp)
    say "hardware tests"
    limited "${TESTS_SECONDS:-420}" "$PYTHON" -m pytest "${options[@]}" -q --durations=10 \
        tests/test_gpu.py 2>&1 | tee "$log"
    code=${PIPESTATUS[0]}
    [ "$code" -eq 0 ] || failures+=("hardware tests")
    grep -Eq '[0-9]+ passed' "$log" || failures+=("hardware tests: none passed")
    if [ "$code" -eq 124 ] || [ "$code" -eq 137 ] || grep -q 'THE DEVICE WAS LOST' "$log"; then
        say "hardware tests, each function in a process of its own"
        "$PYTHON" -m pytest "${options[@]}" --collect-only -q tests/test_gpu.py |
            sed -n 's/^\(tests[^[]*::[a-z_0-9]*\).*/\1/p' | uniq | while read -r name; do
            limited 60 "$PYTHON" -m pytest "${options[@]}" -q "$name" </dev/null 2>&1 | tail -n 25
        done
    fi
    rm -f "$log"
}

run_sanitizer() {
    local tool
    if ! command -v compute-sanitizer >/dev/null; then
        say "compute-sanitizer is not installed"
        return
    fi
    for tool in memcheck racecheck synccheck; do
        attempt "compute-sanitizer $tool" "${SANITIZER_SECONDS:-120}" \
            compute-sanitizer --tool "$tool" --error-exitcode 9 --print-limit 20 \
            "$PYTHON" -m benchmarks.tiny_fits
    done
}

# What limits each kernel, as Nsight Compute sees it: all in $OUT/profile.txt, the main figures here.
run_profile() {
    local case row path precision skip log
    if ! command -v ncu >/dev/null; then
        say "ncu is not installed"
        return
    fi
    log=$(mktemp)
    for case in "small resident" "small batched" "many resident" "many batched" "medium batched" \
        "wide batched" "wide batched tf32"; do
        read -r row path precision <<<"$case"
        # The resident path has few launches, each of them many steps long.
        skip=16
        [ "$path" != resident ] || skip=0
        say "profile of $case"
        limited "${PROFILE_SECONDS:-60}" ncu --clock-control none --set detailed \
            --launch-skip $skip --launch-count 12 --log-file "$log" "$PYTHON" \
            -m benchmarks.one_fit "$row" --path "$path" ${precision:+--precision "$precision"} ||
            failures+=("profile of $case")
        [ -z "${OUT:-}" ] || { say "$case" && cat "$log"; } >>"$OUT/profile.txt"
        grep -E '^  [a-z_]|Duration|(Compute|Memory).*Throughput .*%|Achieved Occupancy' "$log" || true
    done
    rm -f "$log"
}

cores=$(nproc)
counts=()
for count in 1 2 4 8 16; do
    [ "$count" -gt "$cores" ] || counts+=("$count")
done

# A toolkit that is on the path may be where no library is looked for.
if [ -z "${CUDA_HOME:-}${CUDA_PATH:-}" ] && command -v nvcc >/dev/null; then
    home=$(dirname "$(dirname "$(readlink -f "$(command -v nvcc)")")")
    [ ! -d "$home/nvvm" ] || export CUDA_HOME=$home
fi

say "the machine"
nvidia-smi || echo "nvidia-smi does not work"
find_python
"$PYTHON" -c 'import sys; print(sys.executable, sys.version)'
"$PYTHON" -m skmlp devices || failures+=("devices")

for step in "${steps[@]}"; do
    case $step in
        tests) run_tests ;;
        sanitizer)
            attempt "tiny fits" 120 "$PYTHON" -m benchmarks.tiny_fits
            run_sanitizer
            ;;
        gpu)
            # shellcheck disable=SC2086
            attempt "benchmarks gpu" "${GPU_SECONDS:-590}" \
                "$PYTHON" -m benchmarks gpu --save ${GPU_OPTIONS:-}
            ;;
        paths)
            attempt "benchmarks paths" "${PATHS_SECONDS:-240}" "$PYTHON" -m benchmarks paths --save
            ;;
        profile) run_profile ;;
        threads)
            attempt "benchmarks threads" "${THREADS_SECONDS:-480}" \
                "$PYTHON" -m benchmarks threads --threads "${counts[@]}" --save
            ;;
        *) failures+=("there is no step '$step'") ;;
    esac
done

say "the end"
if [ ${#failures[@]} -gt 0 ]; then
    printf 'FAILED: %s\n' "${failures[@]}"
    exit 1
fi
echo "all steps passed"
