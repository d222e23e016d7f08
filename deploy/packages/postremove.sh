#!/bin/sh
# Configuration, keys and data stay until the package is purged. An rpm knows no purge:
# rm -r /etc/tandem /var/lib/tandem; userdel tandem.
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
if [ "${1-}" = purge ]; then
  rm -rf /etc/tandem /var/lib/tandem
  if getent passwd tandem >/dev/null; then userdel tandem; fi
fi
