#!/bin/bash
# The installed service under a real systemd, in short; "make service" is the long form.
cd "$(dirname "$0")/.." || exit 2
exec tests/service/boot 3
