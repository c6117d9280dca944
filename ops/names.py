"""The words that options may take, apart from what they mean so that they can be checked without loading torch."""

from typing import Any

MODALITIES = ("RGB", "Flow", "RGBDiff")
SHIFT_PLACES = ("blockres", "block", "inblockres")
FEX_FORMS = ("paper", "released", "off")
FEX_INITS = ("shift", "plain", "zero")
STAGES = ("layer1", "layer2", "layer3", "layer4")
FEX_STAGES = STAGES[1:]
FEX_PARTS = ("fe", "ss")
FEX_ATTENTIONS = ("linear", "sigmoid", "residual")
FEX_NORMS = ("scene", "tim")
CONSENSUS = ("avg", "identity")
SCHEDULES = ("step", "cos")
PRECISIONS = ("auto", "off", "bf16", "fp16")
BAD_FRAMES = ("error", "skip")
FULL_DISK = ("stop", "wait")
NOT_FINITE = ("stop", "skip")
TEST_CROPS = (1, 3, 5, 10)
STORAGES = ("frames", "packed", "video")
DECODE_DEVICES = ("cpu", "cuda")
DECODERS = ("auto", "pyav", "torchcodec")
# The views of the named protocols (fields of `ops.recognition.contract.Views`): clips × crops.
PROTOCOLS: dict[str, dict[str, Any]] = {
    "efficient": {},  # 1 × 1 at the input size
    "accurate": {"sampling": "twice", "crops": 3, "full_res": True},  # 2 × 3
    "dense": {"sampling": "dense", "crops": 3, "full_res": True},  # 10 × 3
}
EXPORTS = ("onnx", "torch_export", "openvino", "safetensors")
