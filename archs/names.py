"""The backbones' names, apart from their code so that options can be checked without loading torch."""

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
ARCHS = (*RESNETS, "mobilenetv2", "BNInception")
TIMM_PREFIX = "timm:"
