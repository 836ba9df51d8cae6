#!/usr/bin/env python3
"""Writes the tiny random models of src/models/testdata and their logits as transformers computes them.

Each model is an HF directory (config.json, model.safetensors). Beside it lies NAME.golden.safetensors:
for case i the tensors tokens.i [n] (ids as f32), rows.i [m] and logits.i [m, vocab] of those rows.
llama.gguf holds the
numbers of llama/ as llama.cpp converts them; quantized.gguf is a SmolLM2 in small. Weights are rounded to the stored type first, so that both sides compute with the same numbers (f32).

    python tools/make_goldens.py            # needs torch, transformers and gguf
"""

import pathlib
import shutil

import gguf
import torch
import transformers
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).resolve().parent.parent / "src/models/testdata"


def randomize(model, seed, dtype):
    """Weights large enough that logits are of order 1 and every part matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if "norm" in name:
                value = 1 + 0.2 * noise
            elif name.endswith("bias"):
                value = 0.5 * noise
            elif "embed" in name:
                value = 0.3 * noise
            else:
                value = noise * 1.4 / p.shape[1] ** 0.5
            p.copy_(value.to(dtype).float())


def cases(model, seed, lengths):
    goldens = {}
    generator = torch.Generator().manual_seed(seed + 1)
    for i, n in enumerate(lengths):
        tokens = torch.randint(model.config.vocab_size, (n,), generator=generator)
        with torch.no_grad():
            logits = model(tokens[None]).logits[0]
        rows = torch.arange(n) if n < 30 else torch.tensor([0, 14, 15, 16, 17, n // 2, n - 1])
        goldens[f"tokens.{i}"] = tokens.float()
        goldens[f"rows.{i}"] = rows.float()
        goldens[f"logits.{i}"] = logits[rows].contiguous()
    return goldens


def save(goldens, name):
    path = OUT / f"{name}.golden.safetensors"
    save_file(goldens, path)
    path.chmod(0o644)


def write(name, model, seed, dtype, lengths):
    randomize(model, seed, dtype)
    model.eval()
    goldens = cases(model, seed, lengths)
    directory = OUT / name
    shutil.rmtree(directory, ignore_errors=True)
    model.to(dtype).save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)
    save(goldens, name)
    (directory / "model.safetensors").chmod(0o644)
    print(name, (directory / "model.safetensors").stat().st_size, "bytes, logits up to",
          float(max(g.abs().max() for k, g in goldens.items() if k.startswith("logits"))))


def interleave(weight, n_heads):
    """llama.cpp's order of q and k rows: the pairs of RoPE side by side."""
    return weight.reshape(n_heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def byte_alphabet():
    """GPT-2's printable stand-ins for the 256 bytes."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    extra = iter(range(256, 512))
    return [chr(b) if b in kept else chr(next(extra)) for b in range(256)]


def write_gguf_header(writer, config, tokenizer):
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    if tokenizer:
        merges = ["h e", "\u0120 t", "\u0120t he", "i n", "a n", "e r", "o n", "l l", "\u0120 w"]
        control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
        tokens = byte_alphabet() + [m.replace(" ", "") for m in merges] + control
        kinds = [1] * (len(tokens) - 3) + [3] * 3
        while len(tokens) < config.vocab_size:
            tokens.append(f"<unused{len(tokens)}>")
            kinds.append(5)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("smollm")
        writer.add_token_list(tokens)
        writer.add_token_types(kinds)
        writer.add_token_merges(merges)
        writer.add_bos_token_id(tokens.index("<|im_start|>"))
        writer.add_eos_token_id(tokens.index("<|im_end|>"))
        writer.add_add_bos_token(False)
        writer.add_chat_template(
            "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + "
            "message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


def write_gguf(name, model, types, tokenizer=False):
    """types: name part -> GGML type. Returns the state dict with the values that the file holds."""
    config = model.config
    writer = gguf.GGUFWriter(OUT / f"{name}.gguf", "llama")
    write_gguf_header(writer, config, tokenizer)
    names = {"embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
             "input_layernorm": "attn_norm", "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v",
             "o_proj": "attn_output", "post_attention_layernorm": "ffn_norm", "gate_proj": "ffn_gate",
             "up_proj": "ffn_up", "down_proj": "ffn_down"}
    held = {}
    for key, value in model.state_dict().items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        layer = key.split(".")[2] if ".layers." in key else None
        out = next(v for k, v in names.items() if k in key) + ".weight"
        out = out if layer is None else f"blk.{layer}.{out}"
        array = value.float().numpy()
        kind = next((t for part, t in types.items() if part in key), gguf.GGMLQuantizationType.F32)
        kind = kind if array.ndim == 2 else gguf.GGMLQuantizationType.F32
        data = gguf.quants.quantize(array, kind)
        held[key] = torch.from_numpy(gguf.quants.dequantize(data, kind).reshape(array.shape).copy())
        if "q_proj" in key:
            data = interleave(data, config.num_attention_heads)
        if "k_proj" in key:
            data = interleave(data, config.num_key_value_heads)
        writer.add_tensor(out, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(name + ".gguf", (OUT / f"{name}.gguf").stat().st_size, "bytes")
    return held


def write_quantized():
    """A SmolLM2 in small: Q4_1 layers, Q8_0 embedding as the head too, a byte-level tokenizer."""
    kinds = gguf.GGMLQuantizationType
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=288, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
        tie_word_embeddings=True, attn_implementation="eager"))
    randomize(model, 5, torch.float32)
    held = write_gguf("quantized", model, {"embed": kinds.Q8_0, "proj": kinds.Q4_1}, tokenizer=True)
    model.load_state_dict(held, strict=False)
    model.eval()
    save(cases(model, 5, [1, 23, 80]), "quantized")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    common = dict(vocab_size=160, num_hidden_layers=2, attn_implementation="eager", bos_token_id=0,
                  eos_token_id=1)
    lengths = [1, 23, 80]
    llama = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        hidden_size=48, intermediate_size=88, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=256, **common))
    write("llama", llama, 1, torch.float32, lengths)
    write_gguf("llama", llama, {})  # the same numbers in GGUF's order
    write_quantized()
    write("llama3", transformers.LlamaForCausalLM(transformers.LlamaConfig(
        hidden_size=64, intermediate_size=96, num_attention_heads=4, num_key_value_heads=1,
        max_position_embeddings=512, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0,
                             high_freq_factor=4.0, original_max_position_embeddings=64),
        **common)), 2, torch.bfloat16, [1, 23, 300])
    write("mistral", transformers.MistralForCausalLM(transformers.MistralConfig(
        hidden_size=60, intermediate_size=100, num_attention_heads=3, num_key_value_heads=3,
        head_dim=24, max_position_embeddings=256, sliding_window=16, **common)), 3, torch.float16,
        lengths)
    write("qwen2", transformers.Qwen2ForCausalLM(transformers.Qwen2Config(
        hidden_size=64, intermediate_size=80, num_attention_heads=6, num_key_value_heads=2,
        head_dim=16, max_position_embeddings=256, **{**common, "num_hidden_layers": 3},
        rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=4.0,
                             original_max_position_embeddings=64))), 4, torch.bfloat16, lengths)


if __name__ == "__main__":
    main()
