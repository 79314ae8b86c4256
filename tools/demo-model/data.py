"""Sprites, and pictures made from them: warped, recoloured and laid over generated backgrounds, a batch at a time.

Every draw comes from the generator that is passed in; strength 0 is no augmentation, 1 is the full one.
"""
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from render import STYLES

SIZE = 64  # side of a picture, in pixels
LUMA = torch.tensor([0.299, 0.587, 0.114])


@dataclass
class Sprites:
    """Premultiplied RGBA uint8 [n, 4, s, s]; class and style of each."""

    pixels: torch.Tensor
    labels: torch.Tensor
    styles: torch.Tensor

    def where(self, mask):
        return Sprites(self.pixels[mask], self.labels[mask], self.styles[mask])

    def halved(self):
        pixels = F.avg_pool2d(self.pixels.float(), 2).round().to(torch.uint8)
        return Sprites(pixels, self.labels, self.styles)

    def split(self, held_out):
        """The sprites of the seen styles, and those of the one held out."""
        held = self.styles == STYLES.index(held_out)
        return self.where(~held), self.where(held)


def load(path):
    with np.load(path) as file:
        return Sprites(*(torch.from_numpy(file[key]) for key in ("sprites", "labels", "styles")))


class Draw:
    """Uniform draws of one generator."""

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def unit(self, *shape):
        return torch.rand(*shape, generator=self.generator)

    def sym(self, *shape):
        return self.unit(*shape) * 2 - 1

    def chance(self, p, *shape):
        return (self.unit(*shape) < p).float()

    def pick(self, high, n):
        return torch.randint(high, (n,), generator=self.generator)


def smooth(values, size):
    return F.interpolate(values, size=size, mode="bicubic", align_corners=False)


def backgrounds(n, draw, size=SIZE):
    """RGB [n, 3, size, size] in 0..1: plain, ramp, stripes, checks, rings or clouds, of two colours; some white."""

    def colour():
        kind, value = draw.unit(n, 1, 1, 1), draw.unit(n, 3, 1, 1)  # pastel, dark, or any
        return torch.where(kind < 0.35, 0.75 + 0.25 * value, torch.where(kind < 0.5, 0.3 * value, value))

    first, second = colour(), colour()
    axis = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    angle, waves, phase = draw.unit(n, 1, 1) * 2 * math.pi, 6 + 24 * draw.unit(n, 1, 1), 2 * math.pi * draw.unit(n, 1, 1)
    along, across = torch.cos(angle) * x + torch.sin(angle) * y, torch.cos(angle) * y - torch.sin(angle) * x
    centre_x, centre_y = draw.sym(n, 1, 1), draw.sym(n, 1, 1)
    masks = torch.stack(
        [
            torch.zeros(n, size, size),
            (along * 0.5 + 0.5).clamp(0, 1),
            torch.sigmoid(torch.sin(along * waves + phase) * 8),
            torch.sigmoid(torch.sin(along * waves * 0.67) * torch.sin(across * waves * 0.67) * 10),
            (torch.hypot(x - centre_x, y - centre_y) / 2).clamp(0, 1),
            smooth(draw.unit(n, 1, 6, 6), size)[:, 0].clamp(0, 1),
        ],
        1,
    )
    mask = masks[torch.arange(n), draw.pick(6, n)].unsqueeze(1)
    image = first + (second - first) * (0.3 + 0.7 * draw.unit(n, 1, 1, 1)) * mask
    blotches = draw.chance(0.35, n, 1, 1, 1) * draw.unit(n, 1, 1, 1) * 0.6
    image = image + (smooth(draw.unit(n, 3, 5, 5), size).clamp(0, 1) - image) * blotches
    white = draw.chance(0.12, n, 1, 1, 1)
    return image + (1 - image) * white


def grids(n, draw, strength, size):
    """Sampling grids [n, size, size, 2]: scale, aspect, rotation, shear, flip, shift, and a gentle warp, as a hand draws."""
    share = 1 - 0.42 * draw.unit(n)  # of the picture that the sprite takes
    aspect = torch.exp(draw.sym(n) * 0.18 * strength)
    degrees = torch.where(draw.unit(n) < 0.12, 70.0, 22.0)  # a few are turned far
    angle = draw.sym(n) * torch.deg2rad(degrees) * strength
    shear = draw.sym(n) * 0.2 * strength
    flip = 1 - 2 * draw.chance(0.5, n)
    shift = draw.sym(n, 2, 1) * (1.12 - share).view(n, 1, 1) * strength
    zero, one, cos, sin = torch.zeros(n), torch.ones(n), torch.cos(angle), torch.sin(angle)
    scale = torch.stack([flip / (share * aspect.sqrt()), zero, zero, aspect.sqrt() / share], 1).view(n, 2, 2)
    turn = torch.stack([cos, -sin, sin, cos], 1).view(n, 2, 2)
    matrix = scale @ torch.stack([one, shear, zero, one], 1).view(n, 2, 2) @ turn
    grid = F.affine_grid(torch.cat([matrix, -(matrix @ shift)], 2), [n, 4, size, size], align_corners=False)
    warp = smooth(draw.sym(n, 2, 4, 4) * 0.1 * strength * draw.chance(0.6, n, 1, 1, 1), size)
    return grid + warp.permute(0, 2, 3, 1)


def recolour(rgba, draw, strength):
    """Hue, saturation, brightness and contrast as one affine map of the premultiplied colours."""
    n = len(rgba)
    hue = draw.sym(n) * torch.where(draw.unit(n) < 0.25, 0.9, 0.22) * strength
    grey = torch.full((3, 3), 1 / 3)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    cos, sin = torch.cos(hue).view(n, 1, 1), torch.sin(hue).view(n, 1, 1)
    rotation = grey + (torch.eye(3) - grey) * cos + cross * sin
    saturation = (1 + draw.sym(n, 1, 1) * 0.5 * strength) * (1 - draw.chance(0.06 * strength, n, 1, 1))
    luma = LUMA.expand(3, 3)
    brightness, contrast = (1 + draw.sym(n, 1, 1) * 0.3 * strength for _ in range(2))
    matrix = (luma + (torch.eye(3) - luma) * saturation) @ rotation * (brightness * contrast)
    alpha = rgba[:, 3:].clamp(0, 1)
    offset = ((1 - contrast) * 0.5).view(n, 1, 1, 1) * alpha
    colour = torch.bmm(matrix, rgba[:, :3].flatten(2)).view_as(rgba[:, :3]) + offset
    return torch.minimum(colour.clamp_(min=0), alpha), alpha


def compose(pixels, behind, draw, strength, size=SIZE):
    """Sprites uint8 [n, 4, s, s] over backgrounds [n, 3, size, size]: RGB [n, 3, size, size] in 0..1."""
    n = len(pixels)
    grid = grids(n, draw, strength, size)
    rgba = F.grid_sample(pixels.float().div_(255), grid, padding_mode="zeros", align_corners=False)
    colour, alpha = recolour(rgba, draw, strength)
    if strength > 0:
        shadow = F.avg_pool2d(F.pad(alpha, (3, 3, 1, 5)), 7, 1) * (draw.chance(0.3, n, 1, 1, 1) * 0.45)
        behind = behind * (1 - shadow)
    image = colour + behind * (1 - alpha)
    if strength > 0:
        soft = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, 1)
        image = image + (soft - image) * draw.chance(0.15, n, 1, 1, 1)
        noise = draw.chance(0.3, n, 1, 1, 1) * draw.unit(n, 1, 1, 1) * 0.08 * strength
        image = image + noise * torch.randn(image.shape, generator=draw.generator)
    return image.clamp_(0, 1)


def cutout(images, draw, p):
    """A rectangle of one colour over a share p of the images."""
    n = len(images)
    side, axis = 10 + draw.pick(14, n).view(n, 1), torch.arange(SIZE)
    rows, columns = (((draw.unit(n, 1) * (SIZE - side)).long(), side) for _ in range(2))
    inside = [((axis >= start) & (axis < start + length)).float() for start, length in (rows, columns)]
    mask = inside[0].view(n, 1, SIZE, 1) * inside[1].view(n, 1, 1, SIZE) * draw.chance(p, n, 1, 1, 1)
    return images + (draw.unit(n, 3, 1, 1) - images) * mask


def clean(pixels, share=52):
    """The drawing as it is, `share` pixels wide, on white: RGB [n, 3, 64, 64] in 0..1."""
    small = F.interpolate(pixels.float().div(255), size=share, mode="area")
    edge = (SIZE - share) // 2
    small = F.pad(small, (edge,) * 4)
    return small[:, :3] + 1 - small[:, 3:]


def augmented(pixels, seed, strength, repeats=1):
    """`repeats` pictures of each sprite, the same for the same seed."""
    draw, out = Draw(seed), []
    for batch in pixels.repeat_interleave(repeats, 0).split(128):
        out.append(compose(batch, backgrounds(len(batch), draw), draw, strength))
    return torch.cat(out)
