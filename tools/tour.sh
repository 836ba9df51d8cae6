#!/usr/bin/env bash
# What raptly is, in a minute: the machine, attention against materialised softmax, a model that answers,
# and the invariance contract. usage: tour.sh RAPTLY_PROGRAM MODEL.gguf (./dev run calls it)
set -euo pipefail
raptly=$1 model=$2
title() { printf '\n\033[1m%s\033[0m\n' "$*"; }

title "1. This machine"
"$raptly" probe

title "2. Attention, causal, 4096 tokens: raptly against materialised softmax"
"$raptly" bench attention --case causal-4k-d64 --bars

title "   Longformer, 16384 tokens, window 512 and a global token: against materialised softmax"
"$raptly" bench attention --case longformer-16k-d64 --bars

title "3. A mask, drawn"
COLUMNS=68 "$raptly" mask 'longformer(512, [0, 1024]) & causal' --q 2048

title "4. SmolLM2-135M answers, on raptly's attention"
"$raptly" chat "$model" --once "Explain in two sentences why the sky is blue." -n 120
"$raptly" bench model "$model" -p 0 -n 32 -d 0,4096 -r 1

title "5. The same bits: threads, chunks, kernels, caches"
"$raptly" check "$model"

title "6. Next"
cat <<TEXT
  $raptly chat $model
  $raptly run $model -p "Once upon a time" -n 100
  $raptly mask 'causal & window(256, 0)' --png mask.png
  ./dev test
TEXT
