#!/usr/bin/env python3
"""Tunes the demo adapters on SmolLM2 with torch + PEFT (needs: torch transformers peft gguf safetensors).

usage: train_demo_adapters.py BASE.gguf ADAPTERS_DIR NAME...

For each NAME reads ADAPTERS_DIR/NAME/{data,heldout}.jsonl, trains a LoRA on the dequantized weights of the very GGUF
that serves, with loss on the assistant's tokens only, keeps the epoch of lowest held-out loss, and writes
adapter_config.json, adapter_model.safetensors (f16) and losses.json beside the data.
"""
import json
import math
import os
import random
import sys
import time

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

RANK, ALPHA, DROPOUT, BATCH, EPOCHS, LEARNING_RATE, SEED = 8, 16, 0.05, 8, 3, 6e-4, 1


def load_base(path):
    folder, name = os.path.split(os.path.abspath(path))
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(folder, gguf_file=name)


def encode(tokenizer, messages):
    """Token ids, and labels that are the id on the last turn's text and end mark, -100 before it."""
    prompt = tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
    answer = messages[-1]["content"] + "<|im_end|>\n"
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    assert whole == prompt + answer, (whole, prompt + answer)
    head = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    tail = tokenizer(answer, add_special_tokens=False)["input_ids"]
    return head + tail, [-100] * len(head) + tail


def read(tokenizer, path):
    return [encode(tokenizer, json.loads(line)["messages"]) for line in open(path)]


def collate(examples, pad):
    width = max(len(ids) for ids, _ in examples)
    ids = torch.tensor([i + [pad] * (width - len(i)) for i, _ in examples])
    labels = torch.tensor([t + [-100] * (width - len(t)) for _, t in examples])
    mask = torch.tensor([[1] * len(i) + [0] * (width - len(i)) for i, _ in examples])
    return ids, labels, mask


def batches(examples, order):
    """Shuffled batches of examples of similar length: padding costs as much as text."""
    shuffled = examples[:]
    order.shuffle(shuffled)
    sorted_runs = [sorted(shuffled[i : i + 8 * BATCH], key=lambda e: len(e[0])) for i in range(0, len(shuffled), 8 * BATCH)]
    flat = [e for run in sorted_runs for e in run]
    result = [flat[i : i + BATCH] for i in range(0, len(flat), BATCH)]
    order.shuffle(result)
    return result


def loss_sum(model, batch):
    ids, labels, mask = batch
    targets = labels[:, 1:]
    rows = targets != -100
    with torch.autocast("cpu", torch.bfloat16, enabled=model.training):
        hidden = model.get_base_model().model(input_ids=ids, attention_mask=mask).last_hidden_state
        logits = model.get_base_model().lm_head(hidden[:, :-1][rows])
    return torch.nn.functional.cross_entropy(logits.float(), targets[rows], reduction="sum"), int(rows.sum())


@torch.no_grad()
def evaluate(model, examples, pad):
    model.eval()
    total, count = 0.0, 0
    for i in range(0, len(examples), BATCH):
        loss, n = loss_sum(model, collate(examples[i : i + BATCH], pad))
        total, count = total + loss.item(), count + n
    return total / count


def train(base, tokenizer, folder):
    torch.manual_seed(SEED)
    order = random.Random(SEED)
    data, heldout = (read(tokenizer, f"{folder}/{part}.jsonl") for part in ("data", "heldout"))
    pad = tokenizer.convert_tokens_to_ids("<|im_end|>")
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=DROPOUT, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(base, config)
    with model.disable_adapter():
        base_loss = evaluate(model, heldout, pad)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.01)
    steps, step, best, start = EPOCHS * math.ceil(len(data) / BATCH), 0, (math.inf, None, 0), time.time()
    print(f"{folder}: {len(data)} examples, {len(heldout)} held out, base loss {base_loss:.4f}", flush=True)
    for epoch in range(1, EPOCHS + 1):
        for batch in batches(data, order):
            model.train()
            factor = min(1.0, (step + 1) / 10) * 0.5 * (1 + math.cos(math.pi * step / steps))
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * factor
            loss, n = loss_sum(model, collate(batch, pad))
            (loss / n).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
        held = evaluate(model, heldout, pad)
        print(f"  epoch {epoch}/{EPOCHS}: held-out loss {held:.4f}, {time.time() - start:.0f} s", flush=True)
        if held < best[0]:
            state = {k: v.detach().to(torch.float16).clone() for k, v in get_peft_model_state_dict(model).items()}
            best = (held, state, epoch)
    config.inference_mode, config.base_model_name_or_path = True, "SmolLM2-135M-Instruct.Q4_1.gguf"
    config.target_modules = sorted(config.target_modules) if not isinstance(config.target_modules, str) else config.target_modules
    save_file({k: v.contiguous() for k, v in best[1].items()}, f"{folder}/adapter_model.safetensors", {"format": "pt"})
    config.save_pretrained(folder)
    losses = {"examples": len(data), "heldout_examples": len(heldout), "base_loss": round(base_loss, 4),
              "heldout_loss": round(best[0], 4), "epoch": best[2]}
    json.dump(losses, open(f"{folder}/losses.json", "w"), indent=1)
    print(f"  {losses}", flush=True)
    return model.unload()


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    base, tokenizer = load_base(sys.argv[1])
    for name in sys.argv[3:]:
        base = train(base, tokenizer, f"{sys.argv[2]}/{name}")


if __name__ == "__main__":
    main()
