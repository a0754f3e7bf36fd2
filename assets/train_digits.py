#!/usr/bin/env python3
"""Train the demonstration model: a small CNN that reads one digit from a 28x28 greyscale image.

The model learns from two sources, each with whole pieces held out for testing:

* handwritten digits, scikit-learn's `load_digits` (1797 scans of 8x8 pixels); a fifth of them, drawn by seed and
  stratified by class, is the test set;
* printed digits, rendered from the DejaVu and STIX fonts that matplotlib carries; the test set is four faces of
  another family, Computer Modern.

Training images are turned, scaled, moved, bent, thickened or thinned, given poor contrast, uneven light and noise, and
shown in both polarities, so that a user's own image has a fair chance however it was made.

Writes `digits.onnx`, `digits.txt` (the label of each class) and `seven.png` (one held-out handwritten digit) next to
this script, or to `--out`. Every accuracy printed is that of the exported model under ONNX Runtime; nothing is written
if the model misses `REQUIRED_ACCURACY`.
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

LABELS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
SIZE = 28  # side of the model's input, in pixels
CANVAS = 2 * SIZE  # side of the images that the augmentation starts from

TRAIN_FACES = [
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
]
TEST_FACES = ["cmr10", "cmb10", "cmss10", "cmtt10"]

REQUIRED_ACCURACY = 0.97
REQUIRED_CONFIDENCE = 0.97  # in `seven.png`, after a bilinear resize
MAX_MODEL_BYTES = 300_000


def to_tensor(images):
    """Greyscale PIL images of one size -> float32 [N, 1, H, W] in 0..1."""
    return torch.from_numpy(np.stack([np.asarray(image, np.float32) for image in images])[:, None] / 255)


def handwritten():
    """All of `load_digits`, light on dark: images [1797, 1, CANVAS, CANVAS] and classes [1797]."""
    scans, classes = load_digits(return_X_y=True)
    scans = np.pad(scans.reshape(-1, 8, 8) * (255 / 16), ((0, 0), (2, 2), (2, 2))).astype(np.uint8)
    images = [Image.fromarray(scan).resize((CANVAS, CANVAS), Image.Resampling.BICUBIC) for scan in scans]
    return to_tensor(images), torch.from_numpy(classes).long()


def printed(faces):
    """The ten digits in each face, light on dark: images [10 * faces, 1, CANVAS, CANVAS] and classes."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    images = []
    for face in faces:
        font = ImageFont.truetype(folder / f"{face}.ttf", size=50)
        for digit in "0123456789":
            image = Image.new("L", (CANVAS, CANVAS))
            left, top, right, bottom = font.getbbox(digit)
            corner = ((CANVAS - left - right) / 2, (CANVAS - top - bottom) / 2)
            ImageDraw.Draw(image).text(corner, digit, fill=255, font=font)
            images.append(image)
    return to_tensor(images), torch.arange(10).repeat(len(faces))


def crisp(images, threshold, slope=14):
    """Pull soft strokes to ink or paper; a lower threshold (a number or [N, 1, 1, 1]) gives a thicker stroke."""
    return torch.sigmoid(slope * (images - threshold))


def augment(images, rng):
    """Random views of light-on-dark images [N, 1, CANVAS, CANVAS] -> [N, 1, SIZE, SIZE] in 0..1, either polarity."""
    n = len(images)

    def uniform(low, high, *shape):
        return torch.empty(n, *(shape or (1, 1, 1))).uniform_(low, high, generator=rng)

    soft = uniform(0, 1) < 0.3
    images = torch.where(soft, images, crisp(images, uniform(0.3, 0.65)))

    # The matrix takes output coordinates (-1..1 across the image) to input ones: shear, turn, divide by the scale.
    angle, shear = uniform(-0.26, 0.26, 1), uniform(-0.25, 0.25, 1)
    height = uniform(0.7, 1.45, 1)
    width = height * uniform(0.7, 1.2, 1)
    cos, sin = angle.cos(), angle.sin()
    rows = [cos / width, (shear * cos - sin) / width, uniform(-0.2, 0.2, 1)]
    rows += [sin / height, (shear * sin + cos) / height, uniform(-0.2, 0.2, 1)]
    grid = F.affine_grid(torch.cat(rows, 1).view(n, 2, 3), list(images.shape), align_corners=False)
    bend = F.interpolate(uniform(-0.07, 0.07, 2, 5, 5), (CANVAS, CANVAS), mode="bicubic", align_corners=False)
    images = F.grid_sample(images, grid + bend.permute(0, 2, 3, 1), align_corners=False)
    images = F.avg_pool2d(images, 2)

    paper, ink = uniform(0, 0.3), uniform(0.6, 1)
    images = paper + (ink - paper) * images
    across = torch.linspace(-1, 1, SIZE)
    images = images + uniform(-0.1, 0.1) * across + uniform(-0.1, 0.1) * across[:, None]
    images = images + uniform(0, 0.08) * torch.randn(images.shape, generator=rng)
    images = torch.where(uniform(0, 1) < 0.5, images, 1 - images)
    return images.clamp(0, 1)


def build_network():
    """The named layers of the network, [N, 1, 28, 28] -> logits [N, 10], in order; about 41 000 parameters."""
    layers = []
    for stage, (inputs, outputs, depth) in enumerate([(1, 16, 2), (16, 32, 2), (32, 64, 1)], start=1):
        for i in range(depth):
            name = f"stage{stage}.{i}"
            layers += [
                (f"{name}.conv", nn.Conv2d(inputs if i == 0 else outputs, outputs, 3, padding=1, bias=False)),
                (f"{name}.norm", nn.BatchNorm2d(outputs)),
                (f"{name}.relu", nn.ReLU()),
            ]
        layers.append((f"stage{stage}.pool", nn.MaxPool2d(2)))
    layers += [("flatten", nn.Flatten()), ("dropout", nn.Dropout(0.3)), ("classifier", nn.Linear(64 * 3 * 3, 10))]
    return layers


def train(network, images, classes, epochs, rng):
    """Fit `network` to random views of `images`; a view is drawn afresh each time."""
    batch = 64
    steps = len(images) // batch
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=epochs * steps)
    network.train()
    for epoch in range(1, epochs + 1):
        total = 0.0
        for picks in torch.randperm(len(images), generator=rng)[: steps * batch].split(batch):
            loss = F.cross_entropy(network(augment(images[picks], rng)), classes[picks])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        if epoch % 10 == 0 or epoch == epochs:
            print(f"epoch {epoch:3}: mean training loss {total / steps:.4f}", flush=True)
    network.eval()


def to_onnx(layers):
    """The layers and a Softmax as an ONNX model, one node a layer: image [batch, 1, 28, 28] -> probabilities."""
    nodes, weights, value = [], [], "image"

    def add(op, name, *parameters, output=None, **attributes):
        nonlocal value
        output = output or name
        nodes.append(helper.make_node(op, [value, *parameters], [output], name=name, **attributes))
        value = output

    def weight(name, tensor):
        weights.append(numpy_helper.from_array(tensor.detach().numpy(), name))
        return name

    for name, layer in layers:
        match layer:
            case nn.Conv2d():
                kernel = weight(f"{name}.weight", layer.weight)
                add("Conv", name, kernel, kernel_shape=layer.kernel_size, pads=layer.padding * 2)
            case nn.BatchNorm2d():
                fields = ("weight", "bias", "running_mean", "running_var")
                statistics = [weight(f"{name}.{field}", getattr(layer, field)) for field in fields]
                add("BatchNormalization", name, *statistics, epsilon=layer.eps)
            case nn.ReLU():
                add("Relu", name)
            case nn.MaxPool2d():
                add("MaxPool", name, kernel_shape=[layer.kernel_size] * 2, strides=[layer.stride] * 2)
            case nn.Flatten():
                add("Flatten", name, axis=1)
            case nn.Linear():
                matrix, bias = weight(f"{name}.weight", layer.weight), weight(f"{name}.bias", layer.bias)
                add("Gemm", name, matrix, bias, transB=1)
            case nn.Dropout():
                pass  # the identity outside training
            case _:
                raise TypeError(f"no ONNX form for layer {name}: {layer}")
    add("Softmax", "softmax", output="probabilities", axis=-1)

    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, SIZE, SIZE])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", len(LABELS)])],
        weights,
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8, producer_name="train_digits.py")
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def classify(model, images):
    """Probabilities [N, 10] of a serialised model under ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"image": images.numpy()})[0]


def evaluate(model, name, images, classes):
    """Print and return the share of `images` whose most probable class is the right one."""
    accuracy = (classify(model, images).argmax(1) == classes.numpy()).mean()
    print(f"{name + ':':27}{accuracy:8.2%} of {len(images)} held-out images")
    return accuracy


def require(met, problem):
    """Stop before anything is written when a promise of the README does not hold."""
    if not met:
        raise SystemExit(f"error: {problem}")


def draw(image):
    """A light-on-dark image [1, CANVAS, CANVAS] as a PIL image of dark ink on white, twice as large."""
    large = F.interpolate(image[None], scale_factor=2, mode="bicubic", align_corners=False)
    return Image.fromarray((255 * (1 - crisp(large, 0.45, slope=30)[0, 0])).round().to(torch.uint8).numpy())


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split, the weights and the augmentation")
    parser.add_argument("--epochs", type=int, default=80, help="passes over the training images")
    parser.add_argument("--sample", type=int, default=7, help="which of the held-out sevens to draw, from 0")
    args = parser.parse_args()

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(args.seed)
    rng = torch.Generator().manual_seed(args.seed)

    images, classes = handwritten()
    kept, held = train_test_split(np.arange(len(images)), test_size=0.2, stratify=classes, random_state=args.seed)
    glyphs, glyph_classes = printed(TRAIN_FACES)
    repeats = 4  # glyphs are few: show each this often, so that about a third of the training images is print
    train_images = torch.cat([images[kept], glyphs.repeat(repeats, 1, 1, 1)])
    train_classes = torch.cat([classes[kept], glyph_classes.repeat(repeats)])

    layers = build_network()
    network = nn.Sequential(*(layer for _, layer in layers))
    train(network, train_images, train_classes, args.epochs, rng)
    model = to_onnx(layers)
    require(len(model) <= MAX_MODEL_BYTES, f"the model has {len(model)} bytes, more than {MAX_MODEL_BYTES}")

    views = 10
    for name, held_images, held_classes in [
        ("handwritten", images[held], classes[held]),
        ("printed", *printed(TEST_FACES)),
    ]:
        upright = F.avg_pool2d(held_images, 2)
        both = torch.cat([upright, 1 - upright])
        accuracy = evaluate(model, f"{name}, both polarities", both, held_classes.repeat(2))
        require(accuracy > REQUIRED_ACCURACY, f"{name}: {accuracy:.2%} is not above {REQUIRED_ACCURACY:.0%}")
        distorted = augment(held_images.repeat(views, 1, 1, 1), rng)
        evaluate(model, f"{name}, distorted", distorted, held_classes.repeat(views))

    seven = draw(images[held[classes[held] == 7][args.sample]])
    confidence = classify(model, to_tensor([seven.resize((SIZE, SIZE), Image.Resampling.BILINEAR)]))[0, 7]
    print(f"seven.png is a seven with probability {confidence:.4f}")
    require(confidence > REQUIRED_CONFIDENCE, f"seven.png needs a probability above {REQUIRED_CONFIDENCE}")

    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "digits.onnx").write_bytes(model)
    (args.out / "digits.txt").write_text("\n".join(LABELS) + "\n")
    seven.save(args.out / "seven.png", optimize=True)


if __name__ == "__main__":
    main()
