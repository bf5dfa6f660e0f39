"""The CUDA kernels through NVIDIA's compilers, on a machine without a GPU."""

import re
from importlib.util import find_spec

import numba
import pytest
from cuda_checks import keep_some_blends

CAPABILITIES = [(7, 5), (8, 0), (8, 9), (9, 0), (10, 0), (12, 0)]


def installed():
    """Whether the compilers of one of the extras `cuda12` and `cuda13` are there."""
    if not all(find_spec(name) for name in ("numba_cuda", "cuda")):
        return False
    return find_spec("cuda.core") is not None


needs_compilers = pytest.mark.skipif(
    not installed(), reason="needs an extra of skmlp: pip install 'skmlp[cuda12]'"
)


def check_compiles(kernel, capability, record_property):
    """To machine code; all numbers of a thread stay in registers, none in its local memory.

    Sine and cosine of NVIDIA's library have a table there, for large arguments.
    """
    from skmlp.engines.cuda.compilation import compile_kernel

    compiled = compile_kernel(kernel, capability)
    # Of the kernel, and of functions that it calls.
    used = re.findall(
        r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads",
        compiled.report,
    )
    (registers,) = re.search(r"Used (\d+) registers", compiled.report).groups()
    record_property(kernel.name, f"{registers} registers")
    print(f"{capability} {kernel.name}: {registers} registers, {len(compiled.cubin)} bytes")
    assert used
    for stack, *spilled in used:
        assert spilled == ["0", "0"], (kernel.name, compiled.report)
        assert stack == "0" or "sinc" in kernel.name, (kernel.name, compiled.report)
    # All blocks are launched with these threads, or the launch fails.
    assert int(registers) * kernel.threads <= 65536, kernel.name
    if capability == (9, 0):
        assert int(registers) * kernel.threads * kernel.blocks <= 65536, kernel.name


@needs_compilers
@pytest.mark.parametrize("capability", CAPABILITIES, ids=lambda c: f"{c[0]}.{c[1]}")
def test_kernels_compile_and_nothing_spills(capability, record_property, monkeypatch):
    from skmlp.engines.cuda import kernels
    from skmlp.engines.cuda.catalogue import kernels_for
    from skmlp.engines.cuda.program_kernels import program_kernels_for

    keep_some_blends(monkeypatch)
    found = list(kernels_for(kernels.DTYPES, capability))
    assert any("tf32" in kernel.name for kernel in found) == (capability >= (8, 0))
    assert len({kernel.name for kernel in found}) == len(found)
    # Those of programs are many and differ little: one precision each on two kinds of GPU.
    own = {(7, 5): "float64", (9, 0): "float32"}.get(capability)
    left_out = {k for dtype in set(kernels.DTYPES) - {own} for k in program_kernels_for(dtype)}
    for kernel in found:
        if kernel not in left_out:
            check_compiles(kernel, capability, record_property)


@needs_compilers
def test_maps_are_computed_in_single_precision():
    """A double literal would turn them, and all that they are given, into double precision."""
    from skmlp.engines.cuda.compilation import compile_ptx
    from skmlp.engines.cuda.program_kernels import map_kernel
    from skmlp.engines.cuda.vocabulary import lacking_of_activation
    from skmlp.network.activations import ACTIVATIONS, BLENDS

    for name, entry in (*ACTIVATIONS.items(), *list(BLENDS.items())[::5]):
        if entry.hidden and not lacking_of_activation(entry):
            text = compile_ptx(map_kernel(entry, "float32", True), (9, 0))
            assert "cvt.f64.f32" not in text, name
            # NVIDIA's sine of a large number makes its rest of a whole one, by doubles.
            doubles = set(re.findall(r"(?:fma|add|sub|mul|div)\.(?:rn\.)?f64", text))
            assert doubles <= ({"mul.f64"} if name.endswith("sinc") else set()), name


@needs_compilers
def test_users_functions_that_do_not_compile():
    from skmlp.engines.cuda.compilation import compile_ptx
    from skmlp.engines.cuda.program_kernels import loss_kernel, map_kernel
    from skmlp.network.activations import CUSTOM_ACTIVATIONS
    from skmlp.network.custom import custom_activation, custom_loss
    from skmlp.network.losses import CUSTOM_LOSSES

    def sometimes(z):
        if z < 1e30:
            return z

    name = custom_activation(sometimes, lambda z: z > 0)
    message = r"activation=Custom\(...\) cannot be compiled for CUDA: .*Optional"
    with pytest.raises(ValueError, match=message):
        compile_ptx(map_kernel(CUSTOM_ACTIVATIONS[name], "float32", True), (9, 0))
    name = custom_loss(lambda y, p: sometimes(p), lambda y, p: p - y)
    with pytest.raises(ValueError, match=r"loss=Custom\(...\) cannot be compiled for CUDA"):
        compile_ptx(loss_kernel(CUSTOM_LOSSES[name, "identity"], "float32"), (9, 0))
    name = custom_loss(lambda y, p: max(y - p, 0), lambda y, p: p > y)
    text = compile_ptx(loss_kernel(CUSTOM_LOSSES[name, "identity"], "float32"), (9, 0))
    assert ".entry" in text
    name = custom_activation(lambda z: max(z, 0), lambda z: z > 0)
    assert ".entry" in compile_ptx(map_kernel(CUSTOM_ACTIVATIONS[name], "float32", True), (9, 0))


@needs_compilers
def test_machine_code_is_kept_on_disk(tmp_path, monkeypatch):
    from skmlp.engines import folders
    from skmlp.engines.cuda import compilation, kernels
    from skmlp.engines.listeners import compilations_told_to

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    told = []
    kernel = kernels.step_kernel("begin")
    with compilations_told_to(told.append):
        first = compilation.machine_code(kernel, (9, 0))
        second = compilation.machine_code(kernel, (9, 0))
        assert told == ["begin"]
        assert (second.cubin, second.entry) == (first.cubin, first.entry)
        compilation.machine_code(kernel, (8, 0))
        assert told == ["begin"] * 2
        # Neither a damaged file, nor a folder that cannot be written, stops anyone.
        for file in (tmp_path / "skmlp-cuda").iterdir():
            file.write_bytes(file.read_bytes()[:-9])
        third = compilation.machine_code(kernel, (9, 0))
        assert told == ["begin"] * 3
        assert third.report  # which only the assembler gives
        for file in (tmp_path / "skmlp-cuda").iterdir():
            file.write_bytes(b"")
        compilation.machine_code(kernel, (9, 0))
        assert told == ["begin"] * 4
        # What is there is read where it cannot be written, by other users too.
        assert all(file.stat().st_mode & 0o444 for file in (tmp_path / "skmlp-cuda").iterdir())
        monkeypatch.setattr(folders, "can_be_written", lambda folder: False)
        assert compilation.machine_code(kernel, (9, 0)).folder == str(tmp_path / "skmlp-cuda")
        assert told == ["begin"] * 4
        monkeypatch.setattr(folders, "cache_folders", lambda engine: [tmp_path / "none"])
        assert compilation.machine_code(kernel, (9, 0)).folder == ""
        assert told == ["begin"] * 5


@needs_compilers
def test_a_numpy_without_row_stack(run_python):
    """As NumPy 2.5 is, which numba-cuda 0.30 does not know."""
    script = """
import numpy as np
import skmlp  # and SciPy with it, whose releases know their NumPy
vars(np).pop("row_stack", None)
from skmlp.engines.cuda import compilation, kernels
print(compilation.compile_ptx(kernels.step_kernel("begin"), (9, 0))[:2])
"""
    assert run_python(script).startswith("//")


@needs_compilers
def test_a_new_formula_is_another_kernel(tmp_path, monkeypatch):
    """Machine code is stamped with all sources, those of the formulas included."""
    from skmlp.engines.cuda import compilation, kernels

    kernel = kernels.step_kernel("begin")
    before = compilation.file_name(kernel, (9, 0))
    monkeypatch.setattr(compilation, "source_stamp", lambda: "another")
    assert compilation.file_name(kernel, (9, 0)) != before


@needs_compilers
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_neighbors_are_read_at_once_and_nothing_is_double(dtype):
    """What makes the products fast, in the compiler's own output."""
    from skmlp.engines.cuda import kernels
    from skmlp.engines.cuda.compilation import compile_ptx

    for role in kernels.ROLES:
        for tile in (*kernels.tiles(dtype), kernels.deep_tile()):
            size = tile.thread_rows * tile.thread_columns * tile.depth
            text = compile_ptx(kernels.layer_kernel(role, dtype, tile), (9, 0))
            kind = {"float32": "v4.f32", "float64": "v2.f64"}[dtype]
            assert f"ld.shared.{kind}" in text
            assert re.search(rf"ld\.(global|shared)\.{kind}", text)
            # The loop over a tile's depth is unrolled.
            assert len(re.findall(rf"fma\.rn\.f{dtype[-2:]}", text)) >= size, role
            if dtype == "float32":
                # A double literal would turn products into double precision.
                assert not re.search(r"fma\.rn\.f64|mul\.f64|cvt\.f64\.f32", text), role


@needs_compilers
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_tensor_cores_are_used(precision):
    from skmlp.engines.cuda import kernels
    from skmlp.engines.cuda.compilation import compile_ptx

    for tile in kernels.tiles("float32", precision):
        for role in kernels.ROLES:
            kernel = kernels.layer_kernel(role, "float32", tile, precision)
            text = compile_ptx(kernel, (9, 0))
            piece = 16 * 8 * {"tf32": 8, "bf16": 16}[precision]
            warps = tile.threads // 32
            assert text.count("mma.sync") == tile.rows * tile.columns * tile.depth / piece / warps
            # One instruction on this compute capability, three on those before.
            assert "cvt.rna" not in text
            if precision == "tf32":
                assert "cvt.rn.tf32" in text
                assert "cvt.rna.tf32" in compile_ptx(kernel, (8, 0))


def test_compiling_ahead_refuses_what_it_cannot_do(monkeypatch):
    import skmlp

    for arguments, message in (
        ({"device": "tpu"}, "device must be 'cpu' or 'cuda', got 'tpu'"),
        ({"compute_capability": (9, 0)}, r"compute_capability=\(9, 0\) is about GPUs"),
    ):
        with pytest.raises(ValueError, match=message):
            skmlp.warmup("float32", **arguments)
    if not installed():
        with pytest.raises(RuntimeError, match=r"numba-cuda is missing.*pip install"):
            skmlp.warmup("float32", device="cuda", compute_capability=(9, 0))


@needs_compilers
def test_compiling_ahead(tmp_path, monkeypatch, capsys):
    """Without a GPU, for one that is named; then nothing is left to compile for it."""
    import skmlp
    from skmlp.__main__ import main
    from skmlp.engines.cuda.catalogue import kernels_for

    with pytest.raises(ValueError, match=r"compute_capability=\(7, 0\) is below \(7, 5\)"):
        skmlp.warmup(device="cuda", compute_capability=(7, 0))
    keep_some_blends(monkeypatch)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    command = ["warmup", "--device", "cuda", "--compute-capability", "7.5", "--dtype", "float32"]
    main(command)
    assert "Compiled" in capsys.readouterr().out
    main(command)
    assert "Nothing to compile" in capsys.readouterr().out
    result = skmlp.warmup("float32", device="cuda", compute_capability=(7, 5))
    assert result.compiled == ()
    assert result.folder == str(tmp_path / "skmlp-cuda")
    expected = list(kernels_for(["float32"], (7, 5)))
    assert any("blend" in kernel.name for kernel in expected)
    assert len(list(tmp_path.glob("*/*.cubin"))) == len(expected)
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "file"))
    # Compiled for no GPU that there is, so that no other folder has it.
    with pytest.raises(OSError, match=r"skmlp-cuda cannot be written. Set NUMBA_CACHE_DIR"):
        skmlp.warmup("float32", device="cuda", compute_capability=(7, 7))
