package pgtest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// A watchdog removes a server's folder, and the server if it still runs, when this process ends, however it ends: it
// is a shell that waits for the end of a pipe, and the kernel closes the other side with us.
//
// The alternative, Linux's parent death signal, is bound to the thread that started the server, of which Go makes no
// promise, and leaves the folder.
type watchdog struct {
	cmd   *exec.Cmd
	leash io.Closer // our side of the pipe
}

// watch stops the server that postmaster.pid names, if that process is really it and not one that has its number by
// now, and removes the folder. It tries again because initdb or a server that was just starting may still write.
const watch = `
ours() {
	[ "${1:-0}" -gt 1 ] || return
	if [ -e /proc/self/cwd ]; then
		[ "/proc/$1/cwd" -ef "$data" ]
	else
		case $(ps -p "$1" -o args=) in *"$data"*) ;; *) false ;; esac
	fi
}
folder=$1
data=$1/data
while read -r _; do :; done
tries=0
while [ -e "$folder" ]; do
	pid=$(sed -n 1p "$data/postmaster.pid")
	if ours "$pid"; then kill -QUIT "$pid"; else rm -rf "$folder"; fi
	[ -e "$folder" ] || exit 0
	tries=$((tries + 1))
	[ $tries -lt 300 ] || exit 1
	sleep 0.1
done
`

// startWatchdog has the watchdog run as this process's user and not as the server's, which may not be allowed to remove
// the folder from the one around it.
func startWatchdog(folder string) (*watchdog, error) {
	cmd := exec.Command("sh", "-c", watch, "pgtest-watchdog", folder)
	cmd.Dir = "/"
	(*account)(nil).apply(cmd)
	leash, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("pgtest: no watchdog: %w", err)
	}
	return &watchdog{cmd, leash}, nil
}

// dismiss lets the watchdog do its work and waits for it. It may be called again.
func (w *watchdog) dismiss() error {
	if err := w.leash.Close(); errors.Is(err, os.ErrClosed) {
		return nil
	}
	if err := w.cmd.Wait(); err != nil {
		return fmt.Errorf("pgtest: the watchdog: %w", err)
	}
	return nil
}
