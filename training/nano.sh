#!/bin/sh
# The stages of the shipped vividface-nano, first edition, as they were run on two CPU cores.
# A stage begins with the weights that the one before left in $OUT; to repeat a stage, put them back first.
set -eu
PYTHON="${PYTHON:-.venv/bin/python}" DATA="${DATA:-data/nano}" OUT="${OUT:-runs/nano}"
train() { "$PYTHON" -m training.train_nano "$@" --data "$DATA" --out "$OUT" --bf16 --compile; }

train autoencoder --minutes 18 --frames 9 --size 64 --batch 8 --zoom 0.16 0.5
train restore --minutes 25 --frames 9 --size 128 --batch 4 --zoom 0.18 0.5
