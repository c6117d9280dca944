"""The words that options may take, apart from what they mean so that they can be checked without loading torch."""

MODALITIES = ("RGB",)
SHIFT_PLACES = ("blockres", "block", "inblockres")
FEX_FORMS = ("paper", "released", "off")
FEX_INITS = ("shift", "plain")
CONSENSUS = ("avg",)
SCHEDULES = ("step", "cos")
PRECISIONS = ("auto", "off", "bf16", "fp16")
BAD_FRAMES = ("error", "skip")
TEST_CROPS = (1, 3, 5, 10)
