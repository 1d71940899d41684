//go:build unix

package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the user that a server runs as. nil is the user of this process.
type account struct {
	name     string
	uid, gid int
}

// serverAccount chooses the user: this process's own, or, for root, which the server refuses, postgres or nobody.
func serverAccount() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		return &account{name, uid, gid}, nil
	}
	return nil, errors.New("pgtest: PostgreSQL refuses to run as root, and there is no user postgres or nobody")
}

// own gives a file to the account, and checks that the account can come to it.
func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		var info syscall.Stat_t
		if err := syscall.Stat(dir, &info); err != nil {
			return err
		}
		if info.Mode&0o001 == 0 && int(info.Uid) != a.uid {
			return fmt.Errorf("pgtest: user %s, who runs the server, cannot enter %s", a.name, dir)
		}
		if dir == filepath.Dir(dir) {
			return os.Chown(path, a.uid, a.gid)
		}
	}
}

// apply makes cmd run as the account, in a new session: a signal that the terminal or the shell sends to the test's
// process group (an interrupt, say) does not reach it.
func (a *account) apply(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if a != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
}
