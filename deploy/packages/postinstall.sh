#!/bin/sh
# After an install or an upgrade, of a deb or an rpm: the user, the folders and their rights.
# It may run any number of times. It starts nothing: a node needs its configuration first,
# and an upgrade restarts nodes one by one ('tandem upgrade --help').
set -e
getent passwd tandem >/dev/null ||
  useradd --system --user-group --home-dir /var/lib/tandem --no-create-home --shell /usr/sbin/nologin tandem
install -d -m 0750 -o root -g tandem /etc/tandem
install -d -m 0700 -o tandem -g tandem /var/lib/tandem
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
