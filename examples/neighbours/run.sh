#!/usr/bin/env bash
# Recognises handwritten digits by their nearest neighbours, and counts how often that is right.
# shellcheck source-path=SCRIPTDIR source=../common.sh
source "$(dirname "$0")/../common.sh"

prepare_inputs
digits=$inputs/digits.csv predictions=$output/predictions.json
submit job.py:predict --range 0-23 --input "$digits" --output json >"$predictions"

answer=$(submit job.py:accuracy --input "$digits" --input "$predictions")
check_answer "$answer"
