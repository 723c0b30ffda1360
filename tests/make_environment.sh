#!/bin/sh
# Make a Python environment with pip: make_environment.sh PYTHON FOLDER
python=$1
folder=$2
"$python" -m venv "$folder" >/dev/null 2>&1 && exit 0
# Debian splits ensurepip from Python; where it is missing, pip fills the environment from outside.
rm -rf "$folder"
"$python" -m venv --without-pip "$folder" && "$python" -m pip --quiet --disable-pip-version-check --python "$folder" install pip && exit 0
rm -rf "$folder"
echo "could not make an environment in $folder: $python needs pip, or the module ensurepip (Debian: python3-venv)" >&2
exit 1
