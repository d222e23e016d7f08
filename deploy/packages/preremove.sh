#!/bin/sh
# Before the package goes (deb: remove, rpm: 0), the node drains and stops; an upgrade leaves it alone.
set -e
case "${1-}" in
  remove | 0) if [ -d /run/systemd/system ]; then systemctl disable --now tandem.service; fi ;;
esac
