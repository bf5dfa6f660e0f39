"""The CUDA kernels through NVIDIA's compilers, on a machine without a GPU."""

import re
from functools import cache
from importlib.util import find_spec

import numba
import pytest
from cuda_checks import keep_some_blends

# Every kernel is compiled for the oldest kind that can run it and for the newest H100; of the
# other kinds each has its share, which has something of everything.
EVERY_KERNEL = [(7, 5), (9, 0)]
SHARES = [(8, 0), (8, 9), (10, 0), (12, 0)]
# What is compiled for these is looked at by several tests, which one process shall run.
GROUPS = {c: pytest.mark.xdist_group(f"compute capability {c}") for c in EVERY_KERNEL}


def installed():
    """Whether the compilers of one of the extras `cuda12` and `cuda13` are there."""
    if not all(find_spec(name) for name in ("numba_cuda", "cuda")):
        return False
    return find_spec("cuda.core") is not None


needs_compilers = pytest.mark.skipif(
    not installed(), reason="needs an extra of skmlp: pip install 'skmlp[cuda12]'"
)


@pytest.fixture(autouse=True)
def ptx_is_kept(monkeypatch):
    """Compile to PTX, which is what takes long, once in a process."""
    if installed():
        from skmlp.engines.cuda import compilation

        monkeypatch.setattr(compilation, "compile_ptx", kept_compile_ptx())


@cache
def kept_compile_ptx():
    from skmlp.engines.cuda import compilation

    return cache(compilation.compile_ptx)


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


def chosen_kernels(capability):
    """Return those of all kernels that are compiled for a kind of GPU.

    Those of programs are many and differ little: one precision each on two kinds. Of an activation
    one of them needs only one, with slopes or without, as both are made of the same formulas.
    """
    from skmlp.engines.cuda import kernels
    from skmlp.engines.cuda.catalogue import kernels_for
    from skmlp.engines.cuda.program_kernels import program_kernels_for

    found = list(kernels_for(kernels.DTYPES, capability))
    assert len({kernel.name for kernel in found}) == len(found)
    of_programs = {dtype: list(program_kernels_for(dtype)) for dtype in kernels.DTYPES}
    plain = [k for k in found if not any(k in those for those in of_programs.values())]
    if capability == (9, 0):
        return plain + of_programs["float32"]
    if capability == (7, 5):
        maps = [k for k in of_programs["float64"] if k.name.startswith(("map-", "value-"))]
        left_out = {pair[i % 2] for i, pair in enumerate(zip(maps[::2], maps[1::2], strict=True))}
        return plain + [k for k in of_programs["float64"] if k not in left_out]
    older = {kernel.name for kernel in kernels_for(kernels.DTYPES, (7, 5))}
    share = SHARES.index(capability)
    common = [kernel for kernel in plain if kernel.name in older][share :: len(SHARES)]
    # The first kind that has tensor cores has all of their kernels.
    on_tensor_cores = [kernel for kernel in plain if kernel.name not in older]
    return common + on_tensor_cores[share if share else None :: len(SHARES) if share else None]


@needs_compilers
@pytest.mark.parametrize(
    "capability",
    [pytest.param(c, marks=GROUPS.get(c, ())) for c in EVERY_KERNEL + SHARES],
    ids=lambda c: f"{c[0]}.{c[1]}",
)
def test_kernels_compile_and_nothing_spills(capability, record_property, monkeypatch):
    keep_some_blends(monkeypatch)
    chosen = chosen_kernels(capability)
    assert any("tf32" in kernel.name for kernel in chosen) == (capability >= (8, 0))
    for kernel in chosen:
        check_compiles(kernel, capability, record_property)


@needs_compilers
def test_every_kernel_is_compiled_for_several_kinds(monkeypatch):
    """Of each role, in each precision and with each kind of tile, there is one for each kind."""
    keep_some_blends(monkeypatch)
    names = {c: {kernel.name for kernel in chosen_kernels(c)} for c in EVERY_KERNEL + SHARES}
    plain = [name for name in names[9, 0] if sum(name in those for those in names.values()) > 1]
    assert len(plain) > 30
    for name in plain:
        kinds = sum(name in those for those in names.values())
        assert kinds >= (2 if "tf32" in name or "bf16" in name else 3), name
    for capability in SHARES:
        for part in ("forward", "backward", "gradient", "float32", "float64", "tf32", "bf16"):
            assert any(part in name for name in names[capability]), (capability, part)


@needs_compilers
@GROUPS[9, 0]
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
@GROUPS[9, 0]
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
@GROUPS[9, 0]
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
@GROUPS[7, 5]
def test_compiling_ahead(tmp_path, monkeypatch, capsys):
    """Without a GPU, for one that is named; then nothing is left to compile for it.

    Of formulas a few stand for all, each of which is compiled by another test.
    """
    import skmlp
    from skmlp.__main__ import main
    from skmlp.engines.cuda import program_kernels
    from skmlp.engines.cuda.catalogue import kernels_for

    with pytest.raises(ValueError, match=r"compute_capability=\(7, 0\) is below \(7, 5\)"):
        skmlp.warmup(device="cuda", compute_capability=(7, 0))
    keep_some_blends(monkeypatch)
    for registry in ("ACTIVATIONS", "LOSSES", "OPTIMIZERS"):
        some = dict(list(getattr(program_kernels, registry).items())[:3])
        monkeypatch.setattr(program_kernels, registry, some)
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
