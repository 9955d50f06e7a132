#!/usr/bin/env bash
# The pictures of the README, made again: needs dynsim[gui,movie] and a display (or xvfb-run docs/pictures.sh).
set -euo pipefail
cd "$(dirname "$0")/img"
shot() { out=$1; shift; dynsim-gui "$@" --fresh --size 1280x800 --screenshot "$out"; }

shot window_mnist.png mnist_mlp --at 900 --colour-by class --tab confusion
shot window_links.png quickstart --at 260 --colour-by force --select 204 --panel particle
shot window_density.png moons --at 380 --colour-by subsystem --panel density
shot window_digit.png mnist_mlp --at 900 --colour-by emitted --sample 4
shot window_boundary.png moons --at 160 --colour-by class --tab boundary

run=$(mktemp -d)/quickstart
dynsim run quickstart --set record.every=2 --set run.steps=240 --out "$run" --quiet
dynsim-gui movie "$run" window.gif --colour-by class --spin 12 --seconds 8 --fps 12 --size 640x400 --quiet
rm -rf "$run"
