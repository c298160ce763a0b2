"""The networks that are measured, as torchvision builds them."""
import torch
from torchvision import models
from torchvision.models.vision_transformer import VisionTransformer


def build(arch):
    """With random weights."""
    if arch == "vit_s16":  # torchvision has no smaller one than ViT-B; these are DeiT-S's sizes
        net = VisionTransformer(image_size=224, patch_size=16, num_layers=12, num_heads=6,
                                hidden_dim=384, mlp_dim=1536)
        torch.nn.init.normal_(net.heads.head.weight, std=0.05)  # zeros would say nothing
        return net
    return getattr(models, arch)(weights=None)


def without_head(net):
    for name in ("fc", "heads", "classifier"):
        if hasattr(net, name):
            setattr(net, name, torch.nn.Identity())
    return net


def export(net, path):
    """As ONNX, with any number of pictures at a time."""
    torch.backends.mha.set_fastpath_enabled(False)  # else attention is no ONNX operator
    torch.onnx.export(net.eval(), torch.randn(1, 3, 224, 224), path, input_names=["input"],
                      output_names=["logits"], opset_version=17, dynamo=False,
                      dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}})
