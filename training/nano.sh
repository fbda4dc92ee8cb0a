#!/bin/sh
# The stages of the shipped vividface-nano, first edition, as they were run on two CPU cores.
# A stage begins with the weights that the one before left in $OUT; to repeat a stage, put them back first.
set -eu
PYTHON="${PYTHON:-.venv/bin/python}" DATA="${DATA:-data/nano}" OUT="${OUT:-runs/nano}"
train() { "$PYTHON" -m training.train_nano "$@" --data "$DATA" --out "$OUT" --bf16 --compile; }

train autoencoder --minutes 18 --frames 9 --size 64 --batch 8 --zoom 0.16 0.5
# The shipped run stopped this stage after 14 minutes and went on from what it had saved at step 200.
train restore --minutes 25 --frames 9 --size 128 --batch 4 --zoom 0.18 0.5
# Windows of whole faces at 256 pixels: the sharpness of the native crop at a quarter of its cost.
train restore --minutes 50 --frames 9 --size 128 --canvas 256 --faces 0.6 --batch 4 --zoom 0.18 0.5 --seed 11
# Longer clips. Trained on 9 frames alone, the causal autoencoder loses 6 dB from the tenth frame on.
train restore --minutes 28 --frames 17 --size 128 --canvas 256 --faces 0.7 --batch 2 --zoom 0.18 0.5 --lr 6e-4 \
    --seed 23 --encoder
"$PYTHON" -m training.export_nano "$OUT/nano.pt" vividface_core/assets/vividface-nano
