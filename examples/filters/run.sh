#!/usr/bin/env bash
# Filters a photograph and a recording: blur.png, edges.png and low_pass.wav.
# shellcheck source-path=SCRIPTDIR source=../common.sh
source "$(dirname "$0")/../common.sh"

prepare_inputs
photograph=$inputs/astronaut.png pixels=$output/pixels.json bands=$output/bands.json
submit image.py:decode --input "$photograph" --output json >"$pixels"
answers=()
for filter in blur:3 edges:1; do
    name=${filter%:*} channels=${filter#*:}
    submit "image.py:$name" --range 0-15 --input "$pixels" --output json >"$bands"
    submit image.py:encode --kwargs "{\"channels\": $channels}" --input "$pixels" --input "$bands" --output json >"$output/png.json"
    bytes_in "$output/png.json" >"$output/$name.png"
    summary=$(submit image.py:summary --input "$bands")
    answers+=("$name $summary")
done

recording=$inputs/Front_Center.wav blocks=$output/blocks.json
submit sound.py:low_pass --range 0-15 --input "$recording" --output json >"$blocks"
submit sound.py:encode --input "$recording" --input "$blocks" --output json >"$output/wav.json"
bytes_in "$output/wav.json" >"$output/low_pass.wav"
summary=$(submit sound.py:summary --input "$recording" --input "$blocks")
answers+=("sound $summary")

check_answer "$(printf '%s\n' "${answers[@]}")"
