"""Optional packages: imported when needed, their absence answered with what installs them."""

import sys

import pytest

from skmlp import MLPRegressor, from_torch, register_skl2onnx
from skmlp._optional import needed


def test_a_package_that_is_there_is_returned():
    assert needed("json.decoder", "nothing", install="json") is sys.modules["json.decoder"]


def test_a_missing_one_is_answered_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"to_onnx needs onnx, .* pip install 'skmlp\[onnx\]'"):
        needed("onnx.helper", "to_onnx", install="skmlp[onnx]")


def test_what_a_package_lacks_itself_is_not_taken_for_its_absence(tmp_path, monkeypatch):
    (tmp_path / "halfway.py").write_text("import surely_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="surely_not_there"):
        needed("halfway", "nothing", install="halfway")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        # As of a library whose binary part does not fit, with and without a name.
        ("raise ImportError('DLL load failed')", "DLL load failed"),
        ("raise ImportError('no symbol', name='broken._binary')", "no symbol"),
        ("import broken.part", r"No module named 'broken.part'"),
    ],
)
def test_a_broken_one_says_so_itself(tmp_path, monkeypatch, text, error):
    (tmp_path / "broken.py").write_text(f"{text}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ImportError, match=error):
        needed("broken", "nothing", install="broken")


def test_networks_of_pytorch_need_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"to_torch needs torch, .* pip install 'skmlp\[torch\]'"):
        MLPRegressor().to_torch()
    with pytest.raises(ImportError, match="from_torch needs torch"):
        from_torch(None)


def test_onnx_models_need_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"to_onnx needs onnx, .* pip install 'skmlp\[onnx\]'"):
        MLPRegressor().to_onnx()
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ImportError, match=r"register_skl2onnx needs .*'skmlp\[skl2onnx\]'"):
        register_skl2onnx()
