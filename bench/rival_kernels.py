"""The rivals of a case of `raptly bench attention`: {name: function that runs it once}.

sdpa         scaled_dot_product_attention as a user calls it: flash where PyTorch has it; masks that it has
             no words for become a bool matrix
math         its materialised softmax (SDPBackend.MATH)
flex         compiled flex_attention with a BlockMask of the same pairs
hf-longformer, hf-bigbird  the self-attention modules of transformers without their projections (identity)
Backward cases: torch.autograd.grad of sdpa and math.
One dtype for q, k and v: PyTorch refuses an f32 query beside bf16 keys.
"""
import re

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
MOST_SCORE_BYTES = 4.4e9  # of all heads, for `math`: it holds them three times (with a mask: a quarter)
MOST_MASK_ENTRIES = 1.1e9
BIGBIRD_BLOCK, BIGBIRD_RANDOM = 64, 3

compiled_flex = torch.compile(flex_attention, dynamic=False)


def pairs_of(case):
    """mask_mod of FlexAttention: the pairs that the case's mask shows. None: all of them."""
    text, offset = case["mask"], case["kv_len"] - case["q_len"]
    if text == "all" or case["q_len"] == 1:
        return None
    if text == "causal":
        return lambda b, h, q, k: q + offset >= k
    if match := re.fullmatch(r"causal & window\((\d+), 0\)|causal & mistral\((\d+)\)", text):
        left = int(match[1]) if match[1] else int(match[2]) - 1
        return lambda b, h, q, k: (q + offset >= k) & (q + offset - k <= left)
    if match := re.fullmatch(r"longformer\((\d+), \[0\]\)", text):
        side = int(match[1]) // 2
        return lambda b, h, q, k: ((q - k).abs() <= side) | (q == 0) | (k == 0)
    if match := re.fullmatch(r"prefix\((\d+)\)", text):
        n = int(match[1])
        return lambda b, h, q, k: (k < n) | (q >= k)
    if match := re.fullmatch(r"causal & documents\(\[(.*)\]\)", text):
        ids = torch.tensor([int(x) for x in match[1].split(",")])
        return lambda b, h, q, k: (q >= k) & (ids[q] == ids[k])
    if text == f"bigbird({BIGBIRD_BLOCK}, {BIGBIRD_RANDOM}, 0)":
        blocks = bigbird_blocks(case["q_len"] // BIGBIRD_BLOCK)
        return lambda b, h, q, k: blocks[q // BIGBIRD_BLOCK, k // BIGBIRD_BLOCK]
    raise KeyError(text)


def bigbird_blocks(n):
    """Block pairs of BigBird: first and last block global, 3 of a band, random ones; as many as raptly's."""
    random = torch.Generator().manual_seed(0)
    blocks = torch.zeros(n, n, dtype=torch.bool)
    for i in range(n):
        blocks[i, max(0, i - 1) : i + 2] = True
        left = torch.nonzero(~blocks[i, 1:-1]).flatten() + 1
        blocks[i, left[torch.randperm(len(left), generator=random)[:BIGBIRD_RANDOM]]] = True
    blocks[[0, -1], :] = True
    blocks[:, [0, -1]] = True
    return blocks


def bias_of(case, mask, causal):
    """(bias as SDPA takes it, with the mask in it; score_mod of FlexAttention) of a case; (None, None): no bias."""
    q_len, kv_len, heads = case["q_len"], case["kv_len"], case["n_heads"]
    if case.get("bias", "") == "dense":
        bias = torch.randn(q_len, kv_len)
        return bias, lambda score, b, h, q, k: score + bias[q, k]
    if case.get("bias", "") == "alibi":
        slopes = 2.0 ** (-8.0 * torch.arange(1, heads + 1) / heads)
        offsets = torch.arange(q_len)[:, None] + (kv_len - q_len) - torch.arange(kv_len)[None, :]
        bias = -slopes[:, None, None] * offsets.abs()
        if causal:
            bias = bias.masked_fill(offsets < 0, float("-inf"))
        return bias[None], lambda score, b, h, q, k: score - slopes[h] * (q - k).abs()
    if case.get("bias", "") == "relative":
        table = torch.randn(heads, 257)
        offsets = torch.arange(kv_len)[None, :] - torch.arange(q_len)[:, None] - (kv_len - q_len)
        bias = table[:, offsets.clamp(-128, 128) + 128]
        if causal:
            bias = bias.masked_fill(offsets > 0, float("-inf"))
        return bias[None], lambda score, b, h, q, k: score + table[h, (k - q).clamp(-128, 128) + 128]
    return None, None


class Copy(torch.nn.Module):
    """In place of a projection whose result is overwritten."""

    def forward(self, x):
        return x.clone()


def without_projections(module):
    for name in ("query", "key", "value", "query_global", "key_global", "value_global"):
        if hasattr(module, name):
            setattr(module, name, Copy() if name in ("query", "query_global") else torch.nn.Identity())
    return module.eval()


def hf_longformer(case, window):
    from transformers import LongformerConfig
    from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

    n, heads, dim = case["q_len"], case["n_heads"], case["head_dim"]
    config = LongformerConfig(hidden_size=heads * dim, num_attention_heads=heads, attention_window=[window])
    module = without_projections(LongformerSelfAttention(config, 0))
    x = torch.randn(case["batch"], n, heads * dim)
    mask = torch.zeros(case["batch"], n)
    mask[:, 0] = 10000.0  # one global token
    masks = (mask, mask < 0, mask > 0, True)
    return lambda: module(x, *masks)


def hf_bigbird(case):
    from transformers import BigBirdConfig
    from transformers.models.big_bird.modeling_big_bird import BigBirdBlockSparseAttention, BigBirdModel

    n, heads, dim = case["q_len"], case["n_heads"], case["head_dim"]
    config = BigBirdConfig(hidden_size=heads * dim, num_attention_heads=heads, block_size=BIGBIRD_BLOCK,
                           num_random_blocks=BIGBIRD_RANDOM, max_position_embeddings=n)
    module = without_projections(BigBirdBlockSparseAttention(config, seed=0))
    x = torch.randn(case["batch"], n, heads * dim)
    blocked, band, from_mask, to_mask = BigBirdModel.create_masks_for_block_sparse_attn(
        torch.ones(case["batch"], n), BIGBIRD_BLOCK)
    return lambda: module(x, band, from_mask, to_mask, blocked, blocked)


def backward_of(q, k, v, mask, options, backend):
    """The gradients of q, k, v and of a float mask, from an output that was computed before."""
    with torch.inference_mode(False), torch.enable_grad():
        inputs = [t.clone().requires_grad_() for t in (q, k, v)]
        if mask is not None:
            mask = mask.clone()
            if mask.is_floating_point():
                inputs.append(mask.requires_grad_())
        dout = q.clone()
        with sdpa_kernel([backend] if backend else list(SDPBackend.__members__.values())):
            out = torch.nn.functional.scaled_dot_product_attention(*inputs[:3], mask, **options)

    def run():
        with torch.inference_mode(False):
            torch.autograd.grad(out, inputs, dout, retain_graph=True)

    return run


def rivals_of(case, wanted):
    batch, n_heads, q_len, kv_len = (case[k] for k in ("batch", "n_heads", "q_len", "kv_len"))
    dtype = DTYPES[case["kv_dtype"]]
    pairs = pairs_of(case)

    def tensor(n, heads):
        if case["layout"] == "bhsd":
            return torch.randn(batch, heads, n, case["head_dim"]).to(dtype)
        return torch.randn(batch, n, heads, case["head_dim"]).to(dtype).transpose(1, 2)

    q = tensor(q_len, n_heads)
    k, v = (tensor(kv_len, case["n_kv_heads"]) for _ in range(2))
    gqa = n_heads != case["n_kv_heads"]
    causal = case["mask"] == "causal" and q_len == kv_len and pairs is not None
    mask = None
    if pairs is not None and not causal and q_len * kv_len <= MOST_MASK_ENTRIES:
        mask = pairs(0, 0, torch.arange(q_len)[:, None], torch.arange(kv_len)[None, :])

    bias, score_mod = bias_of(case, mask, causal)
    if bias is not None:
        mask, causal = bias, False

    def sdpa():
        torch.nn.functional.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, enable_gqa=gqa)

    def math():
        with sdpa_kernel(SDPBackend.MATH):
            sdpa()

    runs = {}
    if case.get("backward"):
        fits = 4.0 * batch * n_heads * q_len * kv_len <= MOST_SCORE_BYTES / 4
        backends = {"sdpa": None} | ({"math": SDPBackend.MATH} if fits else {})
        options = {"is_causal": causal, "enable_gqa": gqa}
        if pairs is None or causal or mask is not None:
            runs = {name: backward_of(q, k, v, mask, options, backend)
                    for name, backend in backends.items() if name in wanted}
        return runs
    if pairs is None or causal or mask is not None:
        runs["sdpa"] = sdpa
        if 4.0 * batch * n_heads * q_len * kv_len <= MOST_SCORE_BYTES / (1 if mask is None else 4):
            runs["math"] = math
    if "flex" in wanted and (pairs is not None or score_mod is not None) and q_len >= 128:
        block_mask = None if pairs is None else create_block_mask(pairs, None, None, q_len, kv_len, device="cpu")
        runs["flex"] = lambda: compiled_flex(q, k, v, score_mod=score_mod, block_mask=block_mask, enable_gqa=gqa)
    if match := re.fullmatch(r"longformer\((\d+), \[0\]\)", case["mask"]):
        if q_len % int(match[1]) == 0:
            runs["hf-longformer"] = hf_longformer(case, int(match[1]))
    if case["mask"].startswith("bigbird(") and q_len // BIGBIRD_BLOCK > 5 + 2 * BIGBIRD_RANDOM:
        runs["hf-bigbird"] = hf_bigbird(case)
    return {name: run for name, run in runs.items() if name in wanted}
