#!/bin/sh
# Install a program for the tests, where that is possible, unless one of its names is there: install_program.sh PACKAGE [OTHER NAME]...
package=$1
for name in "$@"; do
    command -v "$name" >/dev/null 2>&1 && exit 0
done
echo "tests need $package: trying to install it"
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null
elif command -v apt-get >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    sudo apt-get update -qq && sudo DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null
elif command -v brew >/dev/null 2>&1; then
    brew install --quiet "$package"
else
    false
fi || echo "could not install $package: tests that need it skip; install it with your system's package manager to run them" >&2
