#!/usr/bin/env bash
# Counts the words of the King James Bible: counts.json part by part, chart.txt with the most frequent ones.
# shellcheck source-path=SCRIPTDIR source=../common.sh
source "$(dirname "$0")/../common.sh"

prepare_inputs
submit job.py:count --range 0-31 --input "$inputs/kjv.txt" --output json >"$output/counts.json"
submit job.py:chart --input "$output/counts.json" --output json >"$output/chart.json"
bytes_in "$output/chart.json" >"$output/chart.txt"

answer=$(submit job.py:total --input "$output/counts.json")
check_answer "$answer"
