"""The models of the comparison, made here with random weights, and their inputs. Needs PyTorch, torchvision, transformers."""

import torch
from torch import nn


class Decoder(nn.Module):
    """GPT-2 (small: 12 layers of 768, 12 heads), one token with a cache of past keys and values as inputs and outputs."""

    LAYERS, WIDTH, HEADS, VOCABULARY = 12, 768, 12, 50257

    class Block(nn.Module):
        def __init__(self, width, heads):
            super().__init__()
            self.heads = heads
            self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x, key, value):
            batch, length, width = x.shape
            split = (batch, length, self.heads, width // self.heads)
            q, k, v = (part.view(split).transpose(1, 2) for part in self.qkv(self.before(x)).split(width, 2))
            k, v = torch.cat([key, k], 2), torch.cat([value, v], 2)
            joined = nn.functional.scaled_dot_product_attention(q, k, v)
            x = x + self.out(joined.transpose(1, 2).reshape(batch, length, width))
            return x + self.down(nn.functional.gelu(self.up(self.after(x)), approximate="tanh")), k, v

    def __init__(self):
        super().__init__()
        self.token, self.position = nn.Embedding(self.VOCABULARY, self.WIDTH), nn.Embedding(1024, self.WIDTH)
        self.blocks = nn.ModuleList(self.Block(self.WIDTH, self.HEADS) for _ in range(self.LAYERS))
        self.norm, self.head = nn.LayerNorm(self.WIDTH), nn.Linear(self.WIDTH, self.VOCABULARY, bias=False)

    def forward(self, ids, position, keys, values):
        x = self.token(ids) + self.position(position)
        kept = []
        for block, key, value in zip(self.blocks, keys, values):
            x, key, value = block(x, key, value)
            kept.append((key, value))
        keys, values = (torch.stack(part) for part in zip(*kept))
        return self.head(self.norm(x)), keys, values


def vision(name):
    def make():
        import torchvision

        return getattr(torchvision.models, name)(weights=None)

    return make


def bert():
    from transformers import BertConfig, BertModel

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = BertModel(BertConfig(attn_implementation="sdpa"), add_pooling_layer=False)

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    return Named()


def image(batch):
    return {"x": torch.randn(batch, 3, 224, 224)}


def tokens(batch, length):
    ids = torch.randint(0, 30000, (batch, length))
    return {"input_ids": ids, "attention_mask": torch.ones(batch, length, dtype=torch.long)}


def step(batch, past=512):
    cache = (Decoder.LAYERS, batch, Decoder.HEADS, past, Decoder.WIDTH // Decoder.HEADS)
    return {
        "ids": torch.randint(0, Decoder.VOCABULARY, (batch, 1)),
        "position": torch.full((batch, 1), past),
        "keys": torch.randn(cache),
        "values": torch.randn(cache),
    }


# Name, what makes the model, what makes its inputs; the first are those that matter most, should time run out.
CASES = [
    ("resnet50 1", vision("resnet50"), lambda: image(1)),
    ("bert_base 1x128", bert, lambda: tokens(1, 128)),
    ("decode 1", Decoder, lambda: step(1)),
    ("vit_b16 1", vision("vit_b_16"), lambda: image(1)),
    ("resnet50 32", vision("resnet50"), lambda: image(32)),
    ("bert_base 32x128", bert, lambda: tokens(32, 128)),
    ("decode 16", Decoder, lambda: step(16)),
    ("vit_b16 32", vision("vit_b_16"), lambda: image(32)),
    ("bert_base 1x512", bert, lambda: tokens(1, 512)),
    ("bert_base 32x512", bert, lambda: tokens(32, 512)),
    ("resnet50 256", vision("resnet50"), lambda: image(256)),
]
