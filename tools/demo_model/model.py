"""The Llama architecture in PyTorch, with the parameter names of Hugging Face checkpoints."""
import torch
from torch import nn
from torch.nn import functional

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "max_position_embeddings": 1024,
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": True,
}


class RMSNorm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


def linear(inputs, outputs):
    return nn.Linear(inputs, outputs, bias=False)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.kv_heads, self.dim = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        self.q_proj = linear(c["hidden_size"], self.heads * self.dim)
        self.k_proj = linear(c["hidden_size"], self.kv_heads * self.dim)
        self.v_proj = linear(c["hidden_size"], self.kv_heads * self.dim)
        self.o_proj = linear(self.heads * self.dim, c["hidden_size"])

    def forward(self, x, cos, sin, mask):
        batch, length, _ = x.shape
        q = rotate(self.q_proj(x).view(batch, length, self.heads, self.dim), cos, sin)
        k = rotate(self.k_proj(x).view(batch, length, self.kv_heads, self.dim), cos, sin)
        v = self.v_proj(x).view(batch, length, self.kv_heads, self.dim).permute(0, 2, 1, 3)
        group = self.heads // self.kv_heads
        # Query heads of one key head are stacked along the rows: [batch, kv head, group * length, dim].
        q = q.view(batch, length, self.kv_heads, group, self.dim).permute(0, 2, 3, 1, 4)
        q = q.reshape(batch, self.kv_heads, group * length, self.dim)
        scores = q @ (k.permute(0, 2, 3, 1) * self.dim**-0.5)
        scores = scores.view(batch, self.kv_heads, group, length, length) + mask
        out = scores.softmax(-1).view(batch, self.kv_heads, group * length, length) @ v
        out = out.view(batch, self.heads, length, self.dim).transpose(1, 2).reshape(batch, length, -1)
        return self.o_proj(out)


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class MLP(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_proj = linear(c["hidden_size"], c["intermediate_size"])
        self.up_proj = linear(c["hidden_size"], c["intermediate_size"])
        self.down_proj = linear(c["intermediate_size"], c["hidden_size"])

    def forward(self, x):
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        self.self_attn = Attention(c)
        self.post_attention_layernorm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        self.mlp = MLP(c)

    def forward(self, x, cos, sin, mask):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.config = c
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["num_hidden_layers"]))
        self.norm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        for name, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02 if "embed" in name else c["hidden_size"] ** -0.5)
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.zeros_(p)

    def forward(self, ids, keep=None):
        """Logits for ids [batch, length] at every position, or where the mask `keep` is true."""
        length, dim = ids.shape[1], self.config["head_dim"]
        turn = self.config["rope_theta"] ** (-torch.arange(0, dim, 2) / dim)
        angle = torch.arange(length)[:, None, None] * turn
        mask = torch.full((length, length), float("-inf")).triu(1)
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, angle.cos(), angle.sin(), mask)
        if keep is not None:
            x = x[keep]
        return functional.linear(self.norm(x), self.embed_tokens.weight)
