#!/bin/sh
# Install a built wheel in a new environment and use it: try_wheel.sh DIST CONSTRAINTS SONG
set -eu
here=$(cd "$(dirname "$0")" && pwd)
wheel=$(ls "$PWD/$1"/*.whl)
constraints=$PWD/$2
song=$PWD/$3
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
sh "$here/make_environment.sh" "$python" env
env/bin/python -m pip install --quiet --disable-pip-version-check -c "$constraints" "$wheel"
env/bin/sepgan --version
env/bin/sepgan separate "$song" --out stems
for stem in drums bass other vocals; do
    test -s "stems/$(basename "$song" .flac)/$stem.wav"
done
env/bin/sepgan models list
# A recipe that ships is found by name; only its data is missing.
if env/bin/sepgan train musdb_unet_gan --out run --dry-run 2>message; then exit 1; fi
grep -q "data musdb18=PATH" message
echo "wheel: installs, separates, knows its models and recipes"
