#!/usr/bin/env bash
# A thousand kill -9 in a training run that checkpoints after every step.
GRAFT_KILLS=1000 exec "$OUT/tests/test_train_resume"
