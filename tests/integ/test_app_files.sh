#!/bin/bash
# tests/run: slow timeout=240 once
# Maildir and mbox with many writers, what editors do to save a file, shared maps of several processes, inotify: in the mount and on ext4,
# told step by step. APP_MAIL says how many messages each writer delivers, APP_MAPS how many rounds there are.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/applications.sh"
export ops=$repo/tests/integ/app_ops.py
need_command perl sed
apps_store 1G

mail_story() { "$ops" mail "$@"; }
mbox_story() { "$ops" mbox "$@"; }
save_story() { "$ops" save "$@"; }
map_story() { "$ops" map "$@"; }
watch_story() { "$ops" watch "$@"; }
watch_other() { "$ops" watch "$@"; }
command -v vim >/dev/null || skip "vim" "not installed"
story "maildir: four writers deliver by link and by rename, a reader of another user has each message once, whole" 0 mail_story 4 "${APP_MAIL:-12}" "$user1" "$user2"
story "mbox: four writers with dotlocks and fcntl locks" "$user1" mbox_story 4 "${APP_MAIL:-12}"
story "editors save: rename, backups, vim, sed -i, perl -i; on links, symlinks, read-only files; a swap file after a kill" "$user1" save_story
story "maps: four processes in one file, beside read and write" "$user1" map_story 4 "${APP_MAPS:-40}"
story "inotify: what is told of one's own changes" "$user1" watch_story
story "inotify: what is told of another user's changes" 0 watch_other "$user2"
again "files"
apps_end
