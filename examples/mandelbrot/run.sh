#!/usr/bin/env bash
# Draws the Mandelbrot set: mandelbrot.png, and preview.ansi for a terminal.
# shellcheck source-path=SCRIPTDIR source=../common.sh
source "$(dirname "$0")/../common.sh"

submit job.py:band --range 0-39 --output json >"$output/bands.json"
submit job.py:picture --input "$output/bands.json" --output json >"$output/picture.json"
bytes_in "$output/picture.json" >"$output/mandelbrot.png"
submit job.py:preview --input "$output/bands.json" --output json >"$output/preview.json"
bytes_in "$output/preview.json" >"$output/preview.ansi"

answer=$(submit job.py:summary --input "$output/bands.json")
check_answer "$answer"
