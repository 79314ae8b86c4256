"""The networks of the zoo: constructor, image side, images in a batch, and the two inner layers that are looked at."""
import importlib.util
import pathlib
import re
from dataclasses import dataclass

import torch

CLASSES = 8


def torchvision_models():
    """torchvision.models. Its wheels are built with CUDA; where its C++ operators cannot be loaded, declarations of them
    are enough: no classification network calls one."""
    spec = importlib.util.find_spec("torchvision")
    try:
        torch.ops.torchvision.nms
    except AttributeError:
        source = (pathlib.Path(spec.origin).parent / "_meta_registrations.py").read_text()
        names = set(re.findall(r'register_(?:fake|meta)\("(?:torchvision::)?(\w+)"', source))
        torchvision_models.library = torch.library.Library("torchvision", "DEF")  # kept alive
        for name in sorted(names):
            torchvision_models.library.define(f"{name}(Tensor x) -> Tensor")
    import torchvision.models

    return torchvision.models


@dataclass(frozen=True)
class Net:
    """Layers are the module paths of Conv2d modules; `images` of `side` x `side` are compared element by element."""

    layers: tuple
    side: int = 64
    images: int = 4
    options: tuple = ()


NO_AUXILIARY = (("aux_logits", False), ("init_weights", False), ("transform_input", False))
NETS = {
    # 224: torchvision's adaptive pools to 6x6 and 7x7 can be exported only where they divide evenly.
    "alexnet": Net(("features.3", "features.10"), 224),
    "vgg16_bn": Net(("features.20", "features.40"), 224, 2),
    "resnet18": Net(("layer2.0.downsample.0", "layer4.1.conv2"), 224, 2),
    "resnet50": Net(("layer2.0.conv2", "layer4.2.conv3"), 96),
    "wide_resnet50_2": Net(("layer2.0.conv3", "layer4.2.conv2")),
    "resnext50_32x4d": Net(("layer2.0.conv2", "layer4.2.conv2")),
    "densenet121": Net(("features.denseblock2.denselayer3.conv2", "features.transition3.conv")),
    "squeezenet1_1": Net(("features.4.expand3x3", "features.12.expand1x1"), 96),
    "googlenet": Net(("inception3b.branch2.1.conv", "inception5b.branch4.1.conv"), options=NO_AUXILIARY),
    "inception_v3": Net(("Mixed_6c.branch7x7_2.conv", "Mixed_7c.branch3x3_2b.conv"), 96, options=NO_AUXILIARY),
    "mobilenet_v2": Net(("features.5.conv.2", "features.18.0"), 224, 2),
    "mobilenet_v3_small": Net(("features.4.block.0.0", "features.12.0"), 96),
    "mobilenet_v3_large": Net(("features.4.block.2.fc1", "features.16.0")),
    "shufflenet_v2_x1_0": Net(("stage2.1.branch2.0", "conv5.0")),
    "mnasnet1_0": Net(("layers.9.1.layers.6", "layers.14")),
    "efficientnet_b0": Net(("features.3.0.block.0.0", "features.8.0")),
    "regnet_y_400mf": Net(("trunk_output.block2.block2-0.f.b.0", "trunk_output.block4.block4-5.f.c.0")),
    "convnext_tiny": Net(("features.2.1", "features.6.1")),
}


def make(name, seed=1):
    """Random weights with which activations keep their scale, as those of a trained network do; evaluation mode."""
    torch.manual_seed(seed)
    net = getattr(torchvision_models(), name)(weights=None, num_classes=CLASSES, **dict(NETS[name].options))
    normalised = any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in net.modules())
    for path, m in net.named_modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(m.weight, 0.3, 1.0)
            m.weight.data *= torch.where(torch.rand_like(m.weight) < 0.1, -1.0, 1.0)
            torch.nn.init.normal_(m.bias, 0, 0.1)
            m.momentum = None  # the mean over all calibration batches
        elif isinstance(m, torch.nn.Linear) or (isinstance(m, torch.nn.Conv2d) and not normalised):
            torch.nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
            if m.bias is not None:
                torch.nn.init.normal_(m.bias, 0, 0.05)
        if hasattr(m, "layer_scale"):  # ConvNeXt begins at 1e-6, where its blocks do nothing
            torch.nn.init.uniform_(m.layer_scale, 0.2, 0.6)
        if hasattr(m, "inplace"):
            m.inplace = False
    net.train()
    with torch.no_grad():
        for k in range(2):
            net(pictures(4, NETS[name].side, 100 + k))
    return net.eval()


def pictures(count, side, seed):
    """Smooth random images of about the range that ImageNet's normalisation gives, [count, 3, side, side]."""
    generator = torch.Generator().manual_seed(seed)
    rand = lambda *shape: torch.rand(*shape, generator=generator)
    y, x = torch.meshgrid(torch.arange(side) * 64.0 / side, torch.arange(side) * 64.0 / side, indexing="ij")
    waves = 8
    a, b = (rand(count, 3, waves, 1, 1) - 0.5 for _ in range(2))
    phase, size = 6.2832 * rand(count, 3, waves, 1, 1), rand(count, 3, waves, 1, 1)
    out = (size * torch.sin(a * x + b * y + phase)).sum(2)
    return (out + 0.2 * torch.randn(out.shape, generator=generator)).clamp(-2.1, 2.6)
